"""Who a peer is: labels, a number, a SPIFFE ID. Pure."""

from weft.identity.filters import is_identity_relevant
from weft.identity.labels import NAMESPACE_NAME_LABEL, labels_of, reserved_labels, spiffe_id
from weft.identity.numbers import number, number_all

__all__ = [
    "NAMESPACE_NAME_LABEL",
    "is_identity_relevant",
    "labels_of",
    "number",
    "number_all",
    "reserved_labels",
    "spiffe_id",
]
