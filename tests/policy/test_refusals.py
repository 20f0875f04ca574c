"""What is refused, and that the message names file, line, field, what was expected and the nearest known name."""
# ruff: noqa: E501 (a table: one case, one line)

from __future__ import annotations

import pytest

from tests.policy.shop import CLUSTERWIDE, HEADER, KUBERNETES, read
from weft.model.origin import ManifestError

CNP = HEADER + "spec:\n  endpointSelector: {}\n"
INGRESS = CNP + "  ingress:\n  - "
EGRESS = CNP + "  egress:\n  - "
PORT = INGRESS + "toPorts:\n    - ports:\n      - "
HTTP = PORT + "{port: '80', protocol: TCP}\n      rules: {http: ["
NP = KUBERNETES + "spec:\n  podSelector: {}\n  ingress:\n  - "

REFUSED = {
    # names
    "no name": (
        HEADER.replace("name: p, ", "") + "spec: {endpointSelector: {}, ingress: [{}]}",
        'p.yaml:3: metadata: field "name" is missing',
    ),
    "unknown field": (INGRESS + "fromEndpoint: []", 'p.yaml:7: spec.ingress[0].fromEndpoint: unknown field; did you mean "fromEndpoints"?'),
    "unknown field of a selector": (INGRESS + "fromEndpoints: [{matchLabel: {a: b}}]", 'fromEndpoints[0].matchLabel: unknown field; did you mean "matchLabels"?'),
    "unknown field of NetworkPolicy": (NP + "form: []", 'spec.ingress[0].form: unknown field'),
    # null is never "everything"
    "null peers": (INGRESS + "fromEndpoints:", "p.yaml:7: spec.ingress[0].fromEndpoints: expected a list, got null"),
    "null selector": (HEADER + "spec: {endpointSelector: null, ingress: [{}]}", "spec.endpointSelector: expected an object, got null"),
    "null labels": (HEADER + "spec: {endpointSelector: {matchLabels: null}, ingress: [{}]}", "matchLabels: expected an object, got null"),
    "null from": (NP + "from:", "spec.ingress[0].from: expected a list, got null"),
    "null podSelector": (KUBERNETES + "spec: {podSelector: null}", "spec.podSelector: expected an object, got null"),
    "null ports": (INGRESS + "toPorts: [null]", "toPorts[0]: expected an object, got null"),
    "null toFQDNs": (EGRESS + "toFQDNs: null", "does not enforce DNS names as peers yet"),
    # empty lists that could be read two ways
    "empty toPorts": (INGRESS + "toPorts: []", "spec.ingress[0].toPorts: an empty list of ports"),
    "toPorts without ports": (INGRESS + "toPorts: [{}]", "spec.ingress[0].toPorts[0]: an empty list of ports"),
    "empty ports": (INGRESS + "toPorts: [{ports: []}]", "toPorts[0].ports: an empty list of ports"),
    "empty icmps": (INGRESS + "icmps: []", "spec.ingress[0].icmps: an empty list of ports"),
    "empty icmp fields": (INGRESS + "icmps: [{fields: []}]", "icmps[0].fields: an empty list of ports"),
    "empty deny rule": (CNP + "  ingressDeny: [{}]", "spec.ingressDeny[0]: an empty deny rule denies nothing; write fromEntities: [all]"),
    "no rules": (CNP, "p.yaml:4: spec: a rule needs at least one of ingress, ingressDeny, egress, egressDeny"),
    "empty ingress": (CNP + "  ingress: []", "a rule needs at least one of"),
    "no spec": (HEADER, "a policy needs spec or specs"),
    "empty specs": (HEADER + "specs: []", "a policy needs spec or specs"),
    "no endpointSelector": (HEADER + "spec: {ingress: [{}]}", "endpointSelector is missing; write endpointSelector: {}"),
    "empty peer": (NP + "from: [{}]", "spec.ingress[0].from[0]: an empty peer; expected podSelector"),
    "toServices without a service": (EGRESS + "toServices: [{}]", "exactly one of k8sService and k8sServiceSelector"),
    # what later versions bring
    "kafka": (PORT + "{port: '80'}\n      rules: {kafka: []}", "p.yaml:10: spec.ingress[0].toPorts[0].rules.kafka: this version of weft does not enforce layer-7 rules (kafka) yet"),
    "dns": (PORT + "{port: '53'}\n      rules: {dns: [{matchPattern: '*'}]}", "layer-7 rules (dns) yet"),
    "l7": (PORT + "{port: '53'}\n      rules: {l7proto: r2d2, l7: [{}]}", "layer-7 rules (l7proto) yet"),
    # http
    "unknown rules": (PORT + "{port: '53'}\n      rules: {htpt: []}", 'toPorts[0].rules.htpt: unknown field; did you mean "http"?'),
    "http over UDP": (HTTP.replace("TCP", "UDP") + "{}]}", "p.yaml:9: spec.ingress[0].toPorts[0].ports[0].protocol: http rules can only apply to TCP (not UDP); write protocol: TCP"),
    "http over any protocol": (HTTP.replace(", protocol: TCP", "") + "{}]}", "http rules can only apply to TCP (not ANY)"),
    "http on every port": (HTTP.replace("'80'", "'0'") + "{}]}", "ports[0].port: http rules and every port of a protocol"),
    "http of a deny rule": (HTTP.replace("ingress", "ingressDeny") + "{}]}", "toPorts[0].rules: a deny rule cannot look into requests"),
    "no http of a deny rule": (HTTP.replace("ingress", "ingressDeny") + "]}", "toPorts[0].rules: a deny rule cannot look into requests"),
    "unknown field of http": (HTTP + "{pth: /}]}", 'rules.http[0].pth: unknown field; did you mean "path"?'),
    "path": (HTTP + "{}, {path: '/a(b'}]}", "p.yaml:10: spec.ingress[0].toPorts[0].rules.http[1].path: not a regular expression: missing ) at character 3: /a⟪(b⟫"),
    "path with a lookahead": (HTTP + "{path: '/(?!admin).*'}]}", "invalid perl operator at character 2: /⟪(?!admin).*⟫; RE2 has no lookahead"),
    "path with a backreference": (HTTP + "{path: '/(a)\\1'}]}", "invalid escape sequence at character 5: /(a)⟪\\1⟫; RE2 has no backreferences"),
    "method": (HTTP + "{method: 'GET|*'}]}", "http[0].method: not a regular expression: no argument for repetition operator at character 5: GET|⟪*⟫"),
    "host": (HTTP + "{host: '[a-'}]}", "http[0].host: not a regular expression: missing ] at character 1: ⟪[a-⟫"),
    "long path": (HTTP + "{path: " + "a" * 4097 + "}]}", "http[0].path: an expression of 4097 characters; at most 4096 bytes"),
    "header without a space": (HTTP + "{headers: ['X-A:b']}]}", 'http[0].headers[0]: "X-A:b" names a header with a colon in it; write a space after the colon'),
    "header's name": (HTTP + "{headers: ['Xä: b']}]}", '"Xä" is not the name of a header'),
    "header :path": (HTTP + "{headers: [':path /']}]}", "headers[0]: :path is no header that a rule can ask for; use path"),
    "header with two spaces": (HTTP + "{headers: ['X-A:  b']}]}", "' b' is the value of no header"),
    "header's empty value": (HTTP + "{headers: ['X-A: ']}]}", "'' is the value of no header"),
    "header match without a name": (HTTP + "{headerMatches: [{value: a}]}]}", 'headerMatches[0]: field "name" is missing'),
    "mismatch": (HTTP + "{headerMatches: [{name: a, mismatch: Log}]}]}", 'headerMatches[0].mismatch: unknown mismatch action "Log"; did you mean "LOG"?'),
    "mismatch without a value": (HTTP + "{headerMatches: [{name: a, mismatch: REPLACE}]}]}", "headerMatches[0]: mismatch: REPLACE without a value"),
    "secret": (HTTP + "{headerMatches: [{name: a, secret: {name: b}}]}]}", "headerMatches[0].secret: this version of weft does not enforce header values from Secrets yet"),
    "five mismatches": (HTTP + "{headerMatches: [" + ", ".join(f"{{name: x{n}, mismatch: LOG}}" for n in range(5)) + "]}]}", "http[0].headerMatches: 5 headers with a mismatch action in one rule, at most 4 are possible"),
    "toFQDNs": (EGRESS + "toFQDNs: [{matchName: a.example}]", "DNS names as peers yet"),
    "authentication": (INGRESS + "fromEndpoints: [{}]\n    authentication: {mode: required}", "spec.ingress[0].authentication: this version of weft does not enforce mutual authentication yet"),
    "authentication inside toPorts": (PORT + "{port: '80'}\n      authentication: {mode: required}", "toPorts[0].authentication: authentication belongs to the rule, beside fromEndpoints"),
    "nodeSelector": (CLUSTERWIDE + "spec: {nodeSelector: {}, ingress: [{}]}", "spec.nodeSelector: this version of weft does not enforce policy for nodes"),
    "fromNodes": (INGRESS + "fromNodes: [{}]", "peers by node labels yet"),
    "fromRequires": (INGRESS + "fromRequires: [{}]", "fromRequires (deprecated by Cilium) yet"),
    "toGroups": (EGRESS + "toGroups: [{aws: {securityGroupsIds: [sg-1]}}]", "groups of a cloud provider yet"),
    "cidrGroupRef": (INGRESS + "fromCIDRSet: [{cidrGroupRef: x}]", "CiliumCIDRGroup yet"),
    "terminatingTLS": (PORT + "{port: '80'}\n      terminatingTLS: {}", "TLS termination yet"),
    "serverNames": (PORT + "{port: '80'}\n      serverNames: [a]", "TLS server names yet"),
    "listener": (PORT + "{port: '80'}\n      listener: {}", "custom Envoy listener yet"),
    # peers
    "two peer lists": (INGRESS + "fromEndpoints: [{}]\n    fromCIDR: [10.0.0.0/8]", "fromEndpoints and fromCIDR in one rule"),
    "two peer lists, one empty": (EGRESS + "toEndpoints: []\n    toEntities: [world]", "toEndpoints and toEntities in one rule"),
    "unknown entity": (INGRESS + "fromEntities: [wolrd]", 'p.yaml:7: spec.ingress[0].fromEntities[0]: unknown entity "wolrd"; did you mean "world"?'),
    "toServices with toPorts": (EGRESS + "toServices: [{k8sService: {serviceName: a}}]\n    toPorts: [{ports: [{port: '1'}]}]", "toServices and toPorts in one rule"),
    "icmps with toPorts": (INGRESS + "icmps: [{fields: [{type: 8}]}]\n    toPorts: [{ports: [{port: '1'}]}]", "icmps and toPorts in one rule"),
    "reserved:all": (INGRESS + "fromEndpoints: [{matchLabels: {'reserved:all': ''}}]", "reserved:all would select everything"),
    "unknown reserved label": (INGRESS + "fromEndpoints: [{matchLabels: {'reserved:hots': ''}}]", 'unknown reserved label "hots"; did you mean "host"?'),
    "reserved label with a value": (INGRESS + "fromEndpoints: [{matchLabels: {'reserved:host': 'yes'}}]", "reserved:host has no value"),
    "unknown label source": (INGRESS + "fromEndpoints: [{matchLabels: {'k9s:app': a}}]", 'unknown label source "k9s"; did you mean "k8s"?'),
    "cidr label": (INGRESS + "fromEndpoints: [{matchLabels: {'cidr:10.0.0.0/8': ''}}]", "selects by address; write it in fromCIDR"),
    "label source in NetworkPolicy": (NP + "from: [{podSelector: {matchLabels: {'k8s:app': a}}}]", "a source such as k8s: belongs to CiliumNetworkPolicy"),
    "label key": (INGRESS + "fromEndpoints: [{matchLabels: {'-app': a}}]", "fromEndpoints[0].matchLabels.-app: \"-app\" is not a label key"),
    "label prefix": (INGRESS + "fromEndpoints: [{matchLabels: {'Big.io/app': a}}]", "expected a lower-case DNS name before the /"),
    "label value": (INGRESS + "fromEndpoints: [{matchLabels: {app: 'a b'}}]", '"a b" is not a label value'),
    "label value that is a number": (INGRESS + "fromEndpoints: [{matchLabels: {app: 1}}]", "matchLabels.app: expected a string, got the number 1"),
    "In without values": (INGRESS + "fromEndpoints: [{matchExpressions: [{key: app, operator: In}]}]", "matchExpressions[0].values: In needs at least one value"),
    "Exists with values": (INGRESS + "fromEndpoints: [{matchExpressions: [{key: app, operator: Exists, values: [a]}]}]", "Exists takes no values"),
    "operator": (INGRESS + "fromEndpoints: [{matchExpressions: [{key: app, operator: in, values: [a]}]}]", 'unknown operator "in"; did you mean "In"?'),
    "another namespace's pods": (HEADER + "spec: {endpointSelector: {matchLabels: {'k8s:io.kubernetes.pod.namespace': other}}, ingress: [{}]}", "selects pods of its own namespace, shop, and of no other"),
    "another namespace's pods, any:": (HEADER + "spec: {endpointSelector: {matchExpressions: [{key: io.kubernetes.pod.namespace, operator: In, values: [other]}]}, ingress: [{}]}", "selects pods of its own namespace, shop, and of no other"),
    "reserved subject": (CLUSTERWIDE + "spec: {endpointSelector: {matchLabels: {'reserved:host': ''}}, ingress: [{}]}", "reserved:host selects no pod"),
    "namespace of a clusterwide policy": (CLUSTERWIDE.replace("name: p", "name: p, namespace: shop") + "spec: {endpointSelector: {}, ingress: [{}]}", "metadata.namespace"),
    "ipBlock beside a selector": (NP + "from: [{podSelector: {}, ipBlock: {cidr: 10.0.0.0/8}}]", "ipBlock and a selector in one peer"),
    # addresses
    "CIDR": (INGRESS + "fromCIDR: [10.0.0.0/33]", 'spec.ingress[0].fromCIDR[0]: "10.0.0.0/33" is not an address block'),
    "CIDR with a mask": (INGRESS + "fromCIDR: [10.0.0.0/255.0.0.0]", "is not an address block"),
    "CIDR with leading zeros": (INGRESS + "fromCIDR: [010.0.0.0/8]", "is not an address block"),
    "CIDR set without a length": (INGRESS + "fromCIDRSet: [{cidr: 10.0.0.1}]", '"10.0.0.1" has no prefix length'),
    "CIDR set without a block": (INGRESS + "fromCIDRSet: [{except: [10.0.0.0/8]}]", "cidr is missing"),
    "IPv4 in IPv6 clothes": (INGRESS + "fromCIDR: ['::ffff:10.0.0.0/104']", "write it as IPv4"),
    "interface": (INGRESS + "fromCIDR: ['fe80::1%eth0']", "fe80::1%eth0"),
    "except outside": (INGRESS + "fromCIDRSet: [{cidr: 10.0.0.0/8, except: [10.1.0.0/16, 11.0.0.0/16]}]", "fromCIDRSet[0].except[1]: 11.0.0.0/16 is not inside 10.0.0.0/8"),
    "except around": (INGRESS + "fromCIDRSet: [{cidr: 10.0.0.0/16, except: [10.0.0.0/8]}]", "10.0.0.0/8 is not inside 10.0.0.0/16"),
    "except of another family": (INGRESS + "fromCIDRSet: [{cidr: 10.0.0.0/8, except: ['fd00::/8']}]", "fd00::/8 is not inside"),
    "except is all of it": (NP + "from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.0.0.0/8]}}]", "from[0].ipBlock.except[0]: 10.0.0.0/8 is not inside"),
    # ports
    "port as a number": (PORT + "{port: 80}", "p.yaml:9: spec.ingress[0].toPorts[0].ports[0].port: expected a string, got the number 80; put it in quotes"),
    "port out of range": (PORT + "{port: '65536'}", "expected a port from 0 to 65535, got 65536"),
    "octal port": (PORT + "{port: '010'}", "could be read as octal"),
    "port name": (PORT + "{port: 'not_a_name'}", '"not_a_name" is neither a port number nor a port name'),
    "negative port": (PORT + "{port: '-1'}", '"-1" is neither a port number nor a port name'),
    "endPort below port": (PORT + "{port: '80', endPort: 79}", "ports[0].endPort: expected a port from 80 (port) to 65535, got 79"),
    "endPort of a named port": (PORT + "{port: http, endPort: 90}", "a named port has no range"),
    "endPort of every port": (PORT + "{port: '0', endPort: 90}", 'port "0" already means every port'),
    "protocol": (PORT + "{port: '80', protocol: TPC}", 'ports[0].protocol: unknown protocol "TPC"; did you mean "TCP"?'),
    "protocol in lower case": (PORT + "{port: '80', protocol: udp}", 'did you mean "UDP"?'),
    "ICMP port": (PORT + "{port: '8', protocol: ICMP}", "ICMP has no ports; use icmps with a type"),
    "ICMP type": (INGRESS + "icmps: [{fields: [{type: EchoReqest}]}]", 'IPv4 has no ICMP type "EchoReqest"; did you mean "EchoRequest"?'),
    "ICMP type of the other family": (INGRESS + "icmps: [{fields: [{type: PacketTooBig}]}]", 'IPv4 has no ICMP type "PacketTooBig"'),
    "ICMP number": (INGRESS + "icmps: [{fields: [{type: 256}]}]", "expected an ICMP type from 0 to 255, got 256"),
    "ICMP family": (INGRESS + "icmps: [{fields: [{type: 8, family: ipv4}]}]", 'unknown family "ipv4"; did you mean "IPv4"?'),
    "NetworkPolicy port 0": (NP + "ports: [{port: 0}]", "ports[0].port: expected a port from 1 to 65535, got 0"),
    "NetworkPolicy port as text": (NP + "ports: [{port: '80'}]", "is text, so a port's name; write it without quotes"),
    "NetworkPolicy endPort alone": (NP + "ports: [{endPort: 80}]", "endPort without port"),
    "NetworkPolicy protocol": (NP + "ports: [{protocol: ANY}]", 'unknown protocol "ANY"'),
    "policy type": (KUBERNETES + "spec: {podSelector: {}, policyTypes: [ingress]}", 'policyTypes[0]: unknown policy type "ingress"; did you mean "Ingress"?'),
}  # fmt: skip


@pytest.mark.parametrize("text, message", REFUSED.values(), ids=REFUSED.keys())
def test_is_refused_with_a_message_that_helps(text: str, message: str) -> None:
    with pytest.raises(ManifestError) as refused:
        read(text)
    assert message in str(refused.value)
    assert str(refused.value).startswith("p.yaml:")


def test_one_broken_rule_refuses_the_whole_policy() -> None:
    with pytest.raises(ManifestError, match=r"specs\[1\]\.egress\[0\]\.toCIDR\[1\]"):
        read(
            HEADER
            + "specs: [{endpointSelector: {}, ingress: [{}]},"
            + " {endpointSelector: {}, egress: [{toCIDR: [10.0.0.0/8, nonsense]}]}]"
        )
