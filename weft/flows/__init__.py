"""The way back: kernel records stay bytes in a ring until somebody asks, and become Hubble's flows when they do.

``ring`` keeps them, ``decode`` reads one, ``names`` says who it was, ``view`` joins the two, ``hubble`` spells it as
Hubble's ``flow.Flow``; ``query`` and ``flags`` say what is asked, ``filters`` and ``prefilter`` choose, ``store`` puts
all of that together for the agent, ``observe`` prints for people.
"""
