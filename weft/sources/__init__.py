"""IN: manifests → typed objects → the embedded store → values of ``weft.model``.

    yaml.parse → decode.decode → store.Store.apply → world.* (Workload, Service, PolicySpec, ...)

``table`` prints them back. Only ``store`` touches a disk; the clock and the ids are injected.
"""
