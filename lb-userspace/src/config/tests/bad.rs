//! Files that are refused, and the line that says why.

use super::*;

/// Whole files and their errors, without the file's name.
const FILES: &[(&str, &str)] = &[
    (
        "",
        " interface: there is none: name one to attach to under [[interface]]",
    ),
    ("[[interface]\n", "1: unclosed array table, expected `]`"),
    (
        "[node]\nsocket = \"/run\n",
        r#"2: invalid basic string, expected `"`"#,
    ),
    (
        "[node]\nlog_packets = yes\n",
        "2: string values must be quoted, expected literal string",
    ),
    (
        "[node]\nsocket = '/a'\nsocket = '/b'\n",
        "3: socket: is given twice: give it once",
    ),
    (
        "[node]\n[limits]\n[node]\n",
        "3: [node]: is given twice: write both in one",
    ),
    (
        "[[service]]\n[service.check]\ntype = 'tcp'\n[service.check]\ntype = 'icmp'\n",
        "4: [service.check]: is given twice: give each a head like [[service.check]]",
    ),
    (
        "[[service]]\n[service.check]\ntype = 'tcp'\n[[service.check]]\ntype = 'icmp'\n",
        "4: [service.check]: is given twice: give each a head like [[service.check]]",
    ),
    (
        "[node]\non_event = '/bin/true'",
        r#"2: node: on_event: string "/bin/true" does not fit here: use ["/bin/true"]"#,
    ),
    (
        "[node]\non_event = 3",
        "2: node: on_event: integer `3` does not fit here: use a list of texts",
    ),
    (
        "[node]\nsources = '10.0.0.1'",
        r#"2: node: sources: string "10.0.0.1" does not fit here: use ["10.0.0.1"]"#,
    ),
    (
        "[[service]]\nname = 'web'\n[service.check]\ntype = 'exec'\ncommand = '/bin/check --fast'",
        r#"5: service "web", check: command: string "/bin/check --fast" does not fit here: use ["/bin/check", "--fast"]"#,
    ),
    (
        "[nodes]\n",
        "1: nodes: unknown field: use one of `node`, `limits`, `timeouts`, `interface`, `vip`, `service`",
    ),
    (
        "[node]\nsockets = '/a'",
        "2: node: sockets: unknown field: use one of `pin_dir`, `socket`, `state_dir`, `log_packets`, `tunnel_sources`, `sources`, `source_ports`, `answers_per_second`, `partial_checksums`, `on_event`, `realtime`",
    ),
    (
        "[limits]\nflows = 12",
        "2: limits: flows: 12 is below 1024: use 1024 to 16777216",
    ),
    (
        "[limits]\nbackends = '12'",
        r#"2: limits: backends: string "12" does not fit here: use a whole number from 1 to 65535"#,
    ),
    (
        "[limits]\nservices = -1",
        "2: limits: services: -1 is below 1: use 1 to 16384",
    ),
    (
        "[limits]\nflows = 99999999999999999999999",
        "2: limits: flows: 99999999999999999999999 is above 16777216: use 1024 to 16777216",
    ),
    (
        "[limits]\nwritten = 1000",
        "2: limits: written: 1000 is below 1024: use 1024 to 16777216",
    ),
    (
        "[timeouts]\nsettle = '0s'",
        "2: timeouts: settle: 0s is below 1s: use 1s to 30days",
    ),
    (
        "[timeouts]\nsyn = 10",
        r#"2: timeouts: syn: integer `10` does not fit here: use a duration like "500ms", "30s" or "2h""#,
    ),
    (
        "[timeouts]\nsyn = 'soon'",
        r#"2: timeouts: syn: "soon" is not a duration: write it like "500ms", "30s" or "2h""#,
    ),
    (
        "[timeouts]\n\nfin = '1ms'",
        "3: timeouts: fin: 1ms is below 1s: use 1s to 30days",
    ),
    (
        "[timeouts]\nudp = '31days'",
        "2: timeouts: udp: 1month 13h 26m 24s is above 30days: use 1s to 30days",
    ),
    (
        "[node]\npin_dir = 'xlb'",
        r#"2: node: pin_dir: "xlb" is not absolute: start it with /"#,
    ),
    (
        "[node]\nsocket = \"/run/a\\u0000b\"",
        r#"2: node: socket: "/run/a\0b" has control characters: leave them out"#,
    ),
    (
        "service = 3",
        "1: service: integer `3` does not fit here: use a list of tables, each with a head like [[service]]",
    ),
    (
        "[[interface]]\nmode = 'native'",
        "1: interface number 1: name: is missing: add it",
    ),
    (
        "[[interface]]\nname = 'eth0'\nmode = 'fast'",
        r#"3: interface "eth0": mode: `fast` is unknown: use one of `native`, `generic`, `auto`"#,
    ),
];

/// What comes after the first five lines of [`web`], and the error.
const SERVICES: &[(&str, &str)] = &[
    (
        "weight = 3",
        r#"6: service "web": weight: unknown field: use one of `name`, `vip`, `algorithm`, `source_prefix`, `replicas`, `load_factor`, `need`, `on_full`, `on_down`, `withdraw`, `udp`, `one_packet`, `drain_timeout`, `mode`, `mtu`, `fragments`, `checksum`, `quic`, `affinity`, `new_flows`, `new_flows_per_source`, `check`, `health`, `backend`"#,
    ),
    (
        "[[service.backend]]\naddress = '10.0.0.2'\nwieght = 3",
        r#"8: service "web", backend "10.0.0.2": wieght: unknown field: use one of `name`, `address`, `port`, `weight`, `max_connections`, `priority`, `state`, `server_id`"#,
    ),
    (
        "[[service.backend]]\nname='b1'",
        r#"6: service "web", backend "b1": address: is missing: add it"#,
    ),
    (
        "[[service.backend]]\n\nname = 'b1'\naddress = '10.0.0'",
        r#"9: service "web", backend "b1": address: "10.0.0" is not an IP address: write it like "10.0.0.2""#,
    ),
    (
        "[[service.backend]]\nname = 'b1'\naddress = '10.0.0.2'\nport = 0",
        r#"9: service "web", backend "b1": port: 0 is below 1: use 1 to 65535"#,
    ),
    (
        "[[service.backend]]\nname = 'b1'\naddress = '10.0.0.2'\nport = 70000",
        r#"9: service "web", backend "b1": port: 70000 is above 65535: use 1 to 65535"#,
    ),
    (
        "[[service.backend]]\nname = 'b1'\naddress = '10.0.0.2'\nweight = 2000",
        r#"9: service "web", backend "b1": weight: 2000 is above 1000: use 0 to 1000"#,
    ),
    (
        "[[service.backend]]\nname = 'b1'\naddress = '10.0.0.2'\nweight = 1.5",
        r#"9: service "web", backend "b1": weight: floating point `1.5` does not fit here: use a whole number from 0 to 1000"#,
    ),
    (
        "[[service.backend]]\nname = 'b1'\naddress = '10.0.0.2'\nstate = 'off'",
        r#"9: service "web", backend "b1": state: `off` is unknown: use one of `ready`, `drain`, `maintenance`"#,
    ),
    (
        "[service.check]\ninterval = '1s'",
        r#"6: service "web", check: type: is missing: add it"#,
    ),
    (
        "[service.check]\ntype = 'ping'",
        r#"7: service "web", check: type: `ping` is unknown: use one of `tcp`, `tcp-hold`, `http`, `https`, `grpc`, `udp`, `dns`, `icmp`, `exec`, `agent`"#,
    ),
    (
        "[service.check]\ntype = 'tcp'\n\npath = '/'",
        r#"9: service "web", check: path: a check of type "tcp" has none: remove it, or use type = "http" or "https""#,
    ),
    (
        "[service.check]\ntype = 'http'\nstatus = 1000",
        r#"8: service "web", check: status: "1000" is not a status or a range of them: use 200 to 599, like 200 or "200-399""#,
    ),
    (
        "check = { type = 'http', path = 'x' }",
        r#"6: service "web", check: path: "x" is not a path of a URL: write it like "/health?full=1""#,
    ),
    (
        "check.type = 'tcp'\ncheck.timeout = '2s'",
        r#"7: service "web", check: timeout: 2s is above 1s: use 1ms to 1s (at most the interval)"#,
    ),
    (
        "[service.check]\ntype = 'tcp'\ninterval = '1ms'",
        r#"8: service "web", check: interval: 1ms is below 10ms: use 10ms to 1day"#,
    ),
    (
        "[service.check]\ntype = 'tcp'\ntimeout = '0s'",
        r#"8: service "web", check: timeout: 0s is below 1ms: use 1ms to 1s (at most the interval)"#,
    ),
    (
        "[service.check]\ntype = 'tcp'\nrise = 0",
        r#"8: service "web", check: rise: 0 is below 1: use 1 to 100"#,
    ),
    (
        "[service.check]\ntype = 'tcp'\ntimeouts = '1s'",
        "8: service \"web\", check: timeouts: unknown field: use one of `type`, `interval`, `fast_interval`, `jitter`, `timeout`, `rise`, `fall`, `phi`, `port`, `via`, `path`, `host`, `method`, `version`, `status`, `body`, `body_regex`, `server_name`, `ca`, `verify`, `grpc_service`, `tls`, `send`, `send_hex`, `expect`, `expect_regex`, `query`, `record`, `rcode`, `answer`, `command`",
    ),
    (
        "[[service.check]]\ntype = 'tcp'\n[[service.check]]\ntype = 'icmp'\nport = 80",
        r#"10: service "web", check number 2: port: an echo request goes to no port: remove it"#,
    ),
    (
        "[[service.check]]\ntype = 'tcp'\n[[service.check]]\ntype = 'tcp'\npath = '/'",
        r#"10: service "web", check number 2: path: a check of type "tcp" has none: remove it, or use type = "http" or "https""#,
    ),
    (
        "[service.check]\ntype = 'tcp'\nfast_interval = '2s'",
        r#"8: service "web", check: fast_interval: 2s is above 1s: use 10ms to 1s (at most the interval)"#,
    ),
    (
        "[service.check]\ntype = 'tcp'\nphi = 8.0\nfall = 3",
        r#"9: service "web", check: fall: phi takes its place: give one of the two"#,
    ),
    (
        "[service.check]\ntype = 'tcp'\nphi = 100.0",
        r#"8: service "web", check: phi: 100 is no threshold: use 1 to 16, usually 8"#,
    ),
    (
        "[service.check]\ntype = 'tcp-hold'\nphi = 8.0",
        r#"8: service "web", check: phi: a check of type "tcp-hold" has no heartbeats to go by: use fall"#,
    ),
    (
        "[service.check]\ntype = 'tcp'\nexpect_regex = '(up'",
        r#"8: service "web", check: expect_regex: "(up" is no regular expression: unclosed group: mend it, or escape what is meant literally with \"#,
    ),
    (
        "[service.check]\ntype = 'tcp'\nexpect = 'a'\nexpect_regex = 'a'",
        r#"9: service "web", check: expect_regex: expect says it already: give one of the two"#,
    ),
    (
        "[service.check]\ntype = 'http'\nversion = '3'",
        r#"8: service "web", check: version: "3" is no version of HTTP: use one of 1.1, 2"#,
    ),
    (
        "[service.check]\ntype = 'http'\nmethod = 'HEAD'\nbody = 'ok'",
        r#"9: service "web", check: body: an answer to HEAD has no body: use method = "GET", or remove it"#,
    ),
    (
        "[service.check]\ntype = 'https'\nca = '/nowhere/ca.pem'",
        r#"8: service "web", check: ca: "/nowhere/ca.pem" cannot be read (No such file or directory (os error 2)): name a PEM file"#,
    ),
    (
        "[service.check]\ntype = 'https'\nca = '/etc/hostname'",
        r#"8: service "web", check: ca: "/etc/hostname" has no certificate: name a PEM file with the authority's"#,
    ),
    (
        "[service.check]\ntype = 'https'\nserver_name = 'a b'",
        r#"8: service "web", check: server_name: "a b" is no name of a server: write it like "www.example.com""#,
    ),
    (
        "[service.check]\ntype = 'grpc'\nverify = false",
        r#"8: service "web", check: verify: the check is without TLS: add tls = true, or remove it"#,
    ),
    (
        "[service.check]\ntype = 'udp'\nport = 53",
        r#"6: service "web", check: send: is missing: a server answers only what it is asked: add it"#,
    ),
    (
        "[service.check]\ntype = 'udp'\nport = 53\nsend_hex = '0'",
        r#"9: service "web", check: send_hex: "0" is not hexadecimal: write each byte with two digits, like "0a 1f""#,
    ),
    (
        "[service.check]\ntype = 'dns'\nport = 53\nquery = 'a..b'",
        r#"9: service "web", check: query: "a..b" is no domain name: write it like "www.example.com""#,
    ),
    (
        "[service.check]\ntype = 'dns'\nport = 53\nquery = 'a.b'\nrecord = 'B'",
        r#"10: service "web", check: record: "B" is no type of record: use one like A, AAAA, SOA or NS"#,
    ),
    (
        "[service.check]\ntype = 'dns'\nport = 53\nquery = 'a.b'\nrcode = 'OK'",
        r#"10: service "web", check: rcode: "OK" is no response code: use one of NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED, NOTAUTH"#,
    ),
    (
        "[service.check]\ntype = 'dns'\nport = 53\nquery = 'a.b'\nanswer = '::1'",
        r#"10: service "web", check: answer: ::1 is in no record of type A: use record = "AAAA""#,
    ),
    (
        "[service.check]\ntype = 'exec'\ncommand = ['true']",
        r#"8: service "web", check: command: "true" is no whole path: write it like "/usr/local/bin/check""#,
    ),
    (
        "[service.check]\ntype = 'exec'\ncommand = ['/nowhere/check']",
        r#"8: service "web", check: command: "/nowhere/check" cannot be run (No such file or directory (os error 2)): name a program that is there"#,
    ),
    (
        "[service.check]\ntype = 'exec'\ncommand = ['/proc/self/status']",
        r#"8: service "web", check: command: "/proc/self/status" may not be run: make it executable (chmod +x)"#,
    ),
    (
        "[service.check]\ntype = 'agent'\n[[service.backend]]\naddress = '10.0.0.2'",
        r#"6: service "web", check: port: what an agent says is on a port of its own: give it"#,
    ),
    (
        "[service.check]\ntype = 'tcp'\nport = 81\nvia = 'dataplane'",
        r#"9: service "web", check: via: such a probe goes to a VIP, and none of the service serves port 81 by tcp: use one that is served, leave port out, or use via = "direct""#,
    ),
    (
        "[service.check]\ntype = 'icmp'\nvia = 'dataplane'",
        r#"8: service "web", check: via: a check of type "icmp" asks nothing that a VIP of the service takes: use via = "direct""#,
    ),
    (
        "[service.check]\ntype = 'tcp'\nvia = 'tunnel'",
        r#"8: service "web", check: via: "tunnel" is no way of probes: use one of direct, dataplane"#,
    ),
    (
        "[service.health]\npanic = 101",
        r#"7: service "web", health: panic: 101 is above 100: use 0 to 100"#,
    ),
    (
        "[service.health]\nrequire = 'most'",
        r#"7: service "web", health: require: `most` is unknown: use `all` or `any`"#,
    ),
    (
        "[service.health.flaps]\nhold = '2m'",
        r#"6: service "web", health, flaps: hold_max: 1m is below 2m: use 2m to 1day (at least hold)"#,
    ),
    (
        "[service.check]\ntype = 'http'\nhost = 'a b'",
        r#"8: service "web", check: host: "a b" is not a host: write it like "www.example.com" or "[2001:db8::1]:8080""#,
    ),
    (
        "[service.check]\ntype = 'http'\nhost = 'user@example.com'",
        r#"8: service "web", check: host: "user@example.com" is not a host: write it like "www.example.com" or "[2001:db8::1]:8080""#,
    ),
    (
        "[service.check]\ntype = 'http'\nhost = 'user@exa?mple#x'",
        r#"8: service "web", check: host: "user@exa?mple#x" is not a host: write it like "www.example.com" or "[2001:db8::1]:8080""#,
    ),
    (
        "[service.check]\ntype = 'http'\nhost = 'a:b:c'",
        r#"8: service "web", check: host: "a:b:c" is not a host: write it like "www.example.com" or "[2001:db8::1]:8080""#,
    ),
    (
        "[service.check]\ntype = 'http'\nhost = 'a:'",
        r#"8: service "web", check: host: "a:" is not a host: write it like "www.example.com" or "[2001:db8::1]:8080""#,
    ),
    (
        "[service.check]\ntype = 'http'\nhost = 'a:+80'",
        r#"8: service "web", check: host: "a:+80" is not a host: write it like "www.example.com" or "[2001:db8::1]:8080""#,
    ),
    (
        "[service.check]\ntype = 'http'\nhost = 'a:65536'",
        r#"8: service "web", check: host: "a:65536" is not a host: write it like "www.example.com" or "[2001:db8::1]:8080""#,
    ),
    (
        "[service.check]\ntype = 'http'\nhost = 'a/b'",
        r#"8: service "web", check: host: "a/b" is not a host: write it like "www.example.com" or "[2001:db8::1]:8080""#,
    ),
    (
        "[service.check]\ntype = 'http'\nhost = '2001:db8::1'",
        r#"8: service "web", check: host: "2001:db8::1" is not a host: write it like "www.example.com" or "[2001:db8::1]:8080""#,
    ),
    (
        "[service.check]\ntype = 'http'\nhost = '[2001:db8::1'",
        r#"8: service "web", check: host: "[2001:db8::1" is not a host: write it like "www.example.com" or "[2001:db8::1]:8080""#,
    ),
    (
        "[service.check]\ntype = 'http'\nhost = '[a]:80'",
        r#"8: service "web", check: host: "[a]:80" is not a host: write it like "www.example.com" or "[2001:db8::1]:8080""#,
    ),
    (
        "[service.check]\ntype = 'http'\nhost = ':80'",
        r#"8: service "web", check: host: ":80" is not a host: write it like "www.example.com" or "[2001:db8::1]:8080""#,
    ),
    (
        "[service.check]\ntype = 'https'\nhost = 'a..b'",
        r#"8: service "web", check: host: "a..b" cannot be the name of a server in TLS: set server_name beside it"#,
    ),
    (
        "[service.check]\ntype = 'https'\nhost = '*.example.com'",
        r#"8: service "web", check: host: "*.example.com" cannot be the name of a server in TLS: set server_name beside it"#,
    ),
    (
        "[service.check]\ntype = 'https'\nhost = '-x_.example.com:8443'",
        r#"8: service "web", check: host: "-x_.example.com:8443" cannot be the name of a server in TLS: set server_name beside it"#,
    ),
    (
        "[service.check]\ntype = 'dns'\nport = 53\nquery = 'a.b'\nrecord = 'AXFR'",
        r#"10: service "web", check: record: "AXFR" is no type of record: use one like A, AAAA, SOA or NS"#,
    ),
    (
        "[service.check]\ntype = 'dns'\nport = 53\nquery = 'a.b'\nrecord = 'IXFR'",
        r#"10: service "web", check: record: "IXFR" is no type of record: use one like A, AAAA, SOA or NS"#,
    ),
    (
        "[service.check]\ntype = 'dns'\nport = 53\nquery = 'a.b'\nrecord = 'OPT'",
        r#"10: service "web", check: record: "OPT" is no type of record: use one like A, AAAA, SOA or NS"#,
    ),
    (
        "[service.check]\ntype = 'http'\nstatus = '100'",
        r#"8: service "web", check: status: "100" is not a status or a range of them: use 200 to 599, like 200 or "200-399""#,
    ),
    (
        "[service.check]\ntype = 'http'\nstatus = '100-399'",
        r#"8: service "web", check: status: "100-399" is not a status or a range of them: use 200 to 599, like 200 or "200-399""#,
    ),
    (
        "[service.check]\ntype = 'http'\nstatus = '+200'",
        r#"8: service "web", check: status: "+200" is not a status or a range of them: use 200 to 599, like 200 or "200-399""#,
    ),
    (
        "[service.check]\ntype = 'tcp'\nphi = '8'",
        r#"8: service "web", check: phi: string "8" does not fit here: use a number from 1 to 16"#,
    ),
    (
        "[service.check]\ntype = 'exec'\ncommand = ['/bin/true', \"a\\u0000b\"]",
        r#"8: service "web", check: command: "a\0b" has a zero byte, which no argument can have: remove it"#,
    ),
    (
        "[[service]]\nname = 'b'\nvip = '192.0.2.11:80/sctp'\nmode = 'dsr'\n[service.check]\ntype = 'tcp'\n[[service.backend]]\naddress='10.0.0.2'",
        r#"10: service "b", check: port: a probe by TCP says nothing of a port of SCTP: give the port to probe"#,
    ),
    (
        "[service.check]\ntype = 'http'\nbody = ''",
        r#"8: service "web", check: body: is empty: leave it out or give a text"#,
    ),
    (
        "algorithm = 'fastest'",
        r#"6: service "web": algorithm: `fastest` is unknown: use one of `maglev`, `source`, `dest`, `dest-port`, `bounded`, `round-robin`, `random`, `p2c`, `least-conn`, `first`, `failover`"#,
    ),
    (
        "mode = 'tunnel'",
        r#"6: service "web": mode: `tunnel` is unknown: use one of `nat`, `full-nat`, `dsr`, `ipip`, `gue`"#,
    ),
    (
        "[[service.backend]]\naddress = '2001:db8::1'",
        r#"7: service "web", backend "2001:db8::1": address: 2001:db8::1 is IPv6, and VIP 192.0.2.10:80/tcp is IPv4: mode "nat" needs one family, use mode = "ipip" or "gue" or another address"#,
    ),
    (
        "[[service.backend]]\naddress = '127.0.0.1'",
        r#"7: service "web", backend "127.0.0.1": address: 127.0.0.1 is a loopback address: use one that other hosts reach"#,
    ),
    (
        "[[service.backend]]\naddress = '0.0.0.0'",
        r#"7: service "web", backend "0.0.0.0": address: 0.0.0.0 is an unspecified address: use one that other hosts reach"#,
    ),
    (
        "[[service.backend]]\naddress = '224.0.0.1'",
        r#"7: service "web", backend "224.0.0.1": address: 224.0.0.1 is a multicast address: use one that other hosts reach"#,
    ),
    (
        "[[service.backend]]\naddress = '255.255.255.255'",
        r#"7: service "web", backend "255.255.255.255": address: 255.255.255.255 is a broadcast address: use one that other hosts reach"#,
    ),
    (
        "[[service.backend]]\naddress = '192.0.2.10'",
        r#"7: service "web", backend "192.0.2.10": address: 192.0.2.10 is a VIP of service "web": give the VIP or the backend another address"#,
    ),
    (
        "[[service.backend]]\naddress = '10.0.0.2'\nname = 'a/b'",
        r#"8: service "web", backend "a/b": name: "a/b" is not a name: use 1 to 64 letters, digits, '.', '_', ':' or '-', the first a letter or digit"#,
    ),
    (
        "[[service.backend]]\naddress = '10.0.0.2'\nname = ''",
        r#"8: service "web", backend "": name: "" is not a name: use 1 to 64 letters, digits, '.', '_', ':' or '-', the first a letter or digit"#,
    ),
    (
        "[[service.backend]]\naddress = '10.0.0.2'\n[[service.backend]]\naddress = '10.0.0.2'\nport = 80",
        r#"9: service "web", backend "10.0.0.2:80": address: port 80 of 10.0.0.2 is already backend "10.0.0.2": remove one"#,
    ),
    (
        "[[service.backend]]\naddress = '10.0.0.2'\n[[service.backend]]\naddress = '10.0.0.2'\nport = 80\nname = 'b2'",
        r#"9: service "web", backend "b2": address: port 80 of 10.0.0.2 is already backend "10.0.0.2": remove one"#,
    ),
    (
        "[[service.backend]]\nname = 'b1'\naddress = '10.0.0.2'\n[[service.backend]]\naddress = '10.0.0.3'\nport = 80\nname = 'b1'",
        r#"12: service "web", backend "b1": name: another backend of the service has this name: rename one"#,
    ),
    (
        "[[service]]\nname = 'web'\nvip = '192.0.2.11:80/tcp'",
        r#"7: service "web": name: another service has this name: rename one"#,
    ),
    (
        "[[service]]\nname = 'b'\nvip = ['192.0.2.11:80/tcp',\n'192.0.2.10:80/tcp']",
        r#"9: service "b": vip: 192.0.2.10:80/tcp is already a VIP of service "web": use another address, port or protocol"#,
    ),
    (
        "[[service]]\nname = 'b'\nvip = ['192.0.2.11:80/tcp',\n'192.0.2.11:80/tcp']",
        r#"9: service "b": vip: 192.0.2.11:80/tcp is there twice: remove one"#,
    ),
    (
        "[[service]]\nname = 'b'\nvip = []",
        r#"8: service "b": vip: there is none: give at least one"#,
    ),
    (
        "[[service]]\nname = 'b'\nvip = '192.0.2.10:0/tcp'",
        r#"8: service "b": vip: port 0 is below 1: use 1 to 65535"#,
    ),
    (
        "[[service]]\nname = 'b'\nvip = '192.0.2.10:99999/tcp'",
        r#"8: service "b": vip: "192.0.2.10:99999/tcp" is not an address and a port: write it like "192.0.2.10:80/tcp""#,
    ),
    (
        "[[service]]\nname = 'b'\nvip = '192.0.2.10:80'",
        r#"8: service "b": vip: "192.0.2.10:80" has no protocol: write it like "192.0.2.10:80/tcp""#,
    ),
    (
        "[[service]]\nname = 'b'\nvip = 80",
        r#"8: service "b": vip: integer `80` does not fit here: use a VIP like "192.0.2.10:80/tcp" or a list of them"#,
    ),
    (
        "[[service]]\nname = 'b'",
        r#"6: service "b": vip: is missing: add it"#,
    ),
    (
        "[[service]]\nvip = '192.0.2.10:80'",
        r#"7: service number 2: vip: "192.0.2.10:80" has no protocol: write it like "192.0.2.10:80/tcp""#,
    ),
    (
        "[[service]]\nname = 'b'\nvip = '[fe80::1]:80/tcp'",
        r#"8: service "b": vip: fe80::1 is a link-local address: use one that other hosts reach"#,
    ),
    (
        "[[service]]\nname = 'b'\nvip = ['192.0.2.11:80/tcp', '192.0.2.11:81/tcp']\n[service.check]\ntype = 'tcp'\n[[service.backend]]\naddress='10.0.0.2'",
        r#"9: service "b", check: port: backend "10.0.0.2" serves the ports of several VIPs: give the one to probe"#,
    ),
    (
        "[[service]]\nname = 'b'\nvip = '192.0.2.11:53/udp'\n[service.check]\ntype = 'tcp'\n[[service.backend]]\naddress='10.0.0.2'\nport=53",
        r#"9: service "b", check: port: a probe by TCP says nothing of a port of UDP: give the port to probe"#,
    ),
    (
        "[limits]\nservices = 1\n[[service]]\nname = 'b'\nvip = '192.0.2.11:53/udp'",
        r#"8: service "b": 2 services are more than the 1 that fit: raise limits.services or remove a service"#,
    ),
    (
        "[[service.backend]]\naddress = '10.0.0.2'\n[[service.backend]]\naddress = '10.0.0.3'\n[limits]\nbackends = 1",
        r#"3: service "web": 2 backends are more than the 1 that fit: raise limits.backends or remove some"#,
    ),
    (
        "[[interface]]\nname = 'eth0'",
        r#"7: interface "eth0": name: the interface is there twice: remove one"#,
    ),
    (
        "[[interface]]\nname = 'eth0/1'",
        r#"7: interface "eth0/1": name: "eth0/1" cannot be an interface: give a name that `ip link` shows"#,
    ),
    (
        "[[interface]]\nname = 'eth01234567890123'",
        r#"7: interface "eth01234567890123": name: "eth01234567890123" cannot be an interface: give a name that `ip link` shows"#,
    ),
];

fn error(text: &str) -> String {
    parse(text).expect_err(text).to_string()
}

#[test]
fn bad_values_are_named_with_line_thing_field_and_remedy() {
    for (text, expected) in FILES {
        assert_eq!(error(text), format!("xlb.toml:{expected}"), "{text}");
    }
    for (more, expected) in SERVICES {
        assert_eq!(error(&web(more)), format!("xlb.toml:{expected}"), "{more}");
    }
}

#[test]
fn an_error_stays_one_line_of_bearable_length_whatever_it_quotes() {
    let long = "x".repeat(10_000);
    for name in ["a\\nb\\u0000c", &long] {
        for text in [
            web(&format!("[[service]]\nname = \"{name}\"\nvip = []")),
            format!("\"{name}\" = 1"),
            web(&format!("mode = \"{name}\"")),
        ] {
            let error = error(&text);
            assert!(
                !error.contains(char::is_control) && error.len() < 600,
                "{error:?}"
            );
        }
    }
}
