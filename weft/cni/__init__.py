"""Pods whose containers a kubelet runs: weft as the network plugin (CNI) of a Kubernetes node.

    container runtime ── weft-cni (cni/*.c) ── unix socket ── server.py   one request at a time per connection
                                                 protocol.py  what it says, and the specification's words for it
                                                 pods.py      KubeletPods: addresses, devices, records
                                                 records.py   what outlives the agent
                                                 install.py   the program and the configuration, where kubelets look

The devices themselves come from whoever has the datapath (network.py).
"""
