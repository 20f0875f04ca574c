"""The way back: kernel records stay bytes in a ring until somebody asks, and become Hubble's flows when they do.

``ring`` keeps them, ``decode`` reads one, ``names`` says who it was, ``view`` joins the two, ``hubble`` spells it as
Hubble's ``flow.Flow``; ``l7ring``, ``l7view`` and ``httpfilters`` do the same for what Envoy's access log tells, and
``join`` finds the layer-4 record of its connection; ``query`` and ``flags`` say what is asked, ``filters`` and
``prefilter`` choose, ``store`` puts all of that together for the agent, ``observe`` prints for people.
"""
