"""World → the exact content of every BPF map, and the safe way from what the kernel holds to that. Pure."""

from weft.plan.compiler import Compiled, Compiler, compile_world
from weft.plan.numbering import Numbering
from weft.plan.transition import transition

__all__ = ["Compiled", "Compiler", "Numbering", "compile_world", "transition"]
