//! Ways around an allow-list and into a private network, each refused before anything is looked up or dialled.

use std::net::{IpAddr, SocketAddr};

use eigenshift_plugin::capability::egress::{
    Blocked, Denied, Host, MAX_URL_BYTES, Network, Pattern, Policy, Rule, decide, filter,
};

fn rules(texts: &[&str]) -> Vec<Rule> {
    texts.iter().map(|text| text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))).collect()
}

fn allowed() -> Vec<Rule> {
    rules(&["https://api.example.org", "http://plain.example.org:8080", "https://*.wild.example.org", "http://8.8.8.8"])
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn what_is_listed_passes_and_is_read_in_one_way() {
    let cases = [
        ("https://api.example.org", "https://api.example.org:443"),
        ("https://api.example.org/", "https://api.example.org:443"),
        ("https://api.example.org:443/v1?x=http://127.0.0.1/", "https://api.example.org:443"),
        ("HTTPS://API.Example.ORG/path", "https://api.example.org:443"),
        // The root's dot names the same host.
        ("https://api.example.org./", "https://api.example.org:443"),
        ("http://plain.example.org:8080/", "http://plain.example.org:8080"),
        ("https://a.wild.example.org/", "https://a.wild.example.org:443"),
        ("https://a.b.c.wild.example.org/", "https://a.b.c.wild.example.org:443"),
        ("http://8.8.8.8/", "http://8.8.8.8:80"),
        // The same address in IPv6 clothes is the same address.
        ("http://[::ffff:8.8.8.8]/", "http://8.8.8.8:80"),
        ("http://[::FFFF:808:808]/", "http://8.8.8.8:80"),
        ("https://api.example.org/%2e%2e/@host", "https://api.example.org:443"),
    ];
    for (url, target) in cases {
        let decided = decide("GET", url, &allowed()).unwrap_or_else(|error| panic!("{url}: {error}"));
        assert_eq!(decided.to_string(), target, "{url}");
    }
}

#[test]
fn what_is_not_listed_or_can_be_read_in_two_ways_is_denied() {
    let cases = [
        // Not on the list: host, scheme, port, above and beside a wildcard.
        ("https://example.org/", "egress-not-allowed"),
        ("https://evil.org/?api.example.org", "egress-not-allowed"),
        ("http://api.example.org/", "egress-not-allowed"),
        ("https://api.example.org:8443/", "egress-not-allowed"),
        ("https://api.example.org:80/", "egress-not-allowed"),
        ("http://plain.example.org/", "egress-not-allowed"),
        ("https://wild.example.org/", "egress-not-allowed"),
        ("https://evilwild.example.org/", "egress-not-allowed"),
        ("https://a.wild.example.org.evil.org/", "egress-not-allowed"),
        ("https://api.example.org.evil.org/", "egress-not-allowed"),
        // User info: the host is what comes after it.
        ("https://api.example.org@evil.org/", "egress-user-info"),
        ("https://api.example.org:443@evil.org/", "egress-user-info"),
        ("https://user:password@api.example.org/", "egress-user-info"),
        ("https://@api.example.org/", "egress-user-info"),
        // Other schemes, and none.
        ("ftp://api.example.org/", "egress-scheme"),
        ("file:///etc/passwd", "egress-scheme"),
        ("gopher://api.example.org/", "egress-scheme"),
        ("unix:///run/docker.sock", "egress-scheme"),
        ("javascript://api.example.org/", "egress-scheme"),
        ("://api.example.org/", "egress-scheme"),
        ("api.example.org:443", "egress-url"),
        ("//api.example.org/", "egress-url"),
        ("https:/api.example.org/", "egress-url"),
        ("https:api.example.org", "egress-url"),
        ("", "egress-url"),
        // Characters that parsers mend in different ways.
        ("https://evil.org\\@api.example.org/", "egress-url"),
        ("https://api.example.org\\.evil.org/", "egress-url"),
        ("https://api.example.org/ HTTP/1.1\r\nHost: evil.org", "egress-url"),
        ("https://api.example.org/\r\nX: y", "egress-url"),
        ("https://api.example.org/\t", "egress-url"),
        (" https://api.example.org/", "egress-url"),
        ("https://api.exa\0mple.org/", "egress-url"),
        ("https://api.example.org/#fragment", "egress-url"),
        ("https://api.example.org#@evil.org/", "egress-url"),
        // Names that are not ASCII: full-width letters and dots fold into other names.
        ("https://ａpi.example.org/", "egress-url"),
        ("https://api。example。org/", "egress-url"),
        ("http://①②⑦.⓪.⓪.①/", "egress-url"),
        ("https://api.ex\u{ad}ample.org/", "egress-url"),
        ("https://%61pi.example.org/", "egress-host"),
        ("https://api%2eexample%2eorg/", "egress-host"),
        ("http://127.0.0.1%2f@api.example.org/", "egress-user-info"),
        ("https://api.example.org%00.evil.org/", "egress-host"),
        // Other notations of an IPv4 address.
        ("http://127.1/", "egress-host"),
        ("http://127.0.1/", "egress-host"),
        ("http://2130706433/", "egress-host"),
        ("http://0x7f000001/", "egress-host"),
        ("http://0x7f.0.0.1/", "egress-host"),
        ("http://0X7F.0x0.0x0.0x1/", "egress-host"),
        ("http://017700000001/", "egress-host"),
        ("http://0177.0.0.1/", "egress-host"),
        ("http://127.0.0.01/", "egress-host"),
        ("http://127.0.0.0x1/", "egress-host"),
        ("http://127.0.0.0x/", "egress-host"),
        ("http://8.8.8.256/", "egress-host"),
        ("http://8.8.8/", "egress-host"),
        ("http://8.8.8.8.8/", "egress-host"),
        ("http://1e100.1/", "egress-host"),
        ("http://4294967296/", "egress-host"),
        ("http://0/", "egress-host"),
        ("http://127.0.0.1../", "egress-host"),
        // In the one notation they are hosts like any other.
        ("http://127.0.0.1/", "egress-not-allowed"),
        ("http://127.0.0.1./", "egress-not-allowed"),
        ("http://169.254.169.254/latest/meta-data/", "egress-not-allowed"),
        ("http://[::1]/", "egress-not-allowed"),
        ("http://[::ffff:127.0.0.1]/", "egress-not-allowed"),
        ("http://localhost/", "egress-not-allowed"),
        // IPv6 that is none, with a zone, or without brackets.
        ("http://[fe80::1%25eth0]/", "egress-host"),
        ("http://[fe80::1%eth0]/", "egress-host"),
        ("http://[::1/", "egress-host"),
        ("http://::1/", "egress-host"),
        ("http://[]/", "egress-host"),
        ("http://[::1]evil.org/", "egress-host"),
        ("http://[v1.fe80::a]/", "egress-host"),
        ("http://[127.0.0.1]/", "egress-host"),
        ("http://[::127.0.0.01]/", "egress-host"),
        // Names that are none.
        ("https:///path", "egress-host"),
        ("https://?x", "egress-host"),
        ("https://./", "egress-host"),
        ("https://../", "egress-host"),
        ("https://api..example.org/", "egress-host"),
        ("https://.api.example.org/", "egress-host"),
        ("https://api.example.org../", "egress-host"),
        ("https://-api.example.org/", "egress-host"),
        ("https://api,evil.org/", "egress-host"),
        ("https://api.example.org;evil.org/", "egress-host"),
        ("https://*.wild.example.org/", "egress-host"),
        // Ports that are none.
        ("https://api.example.org:/", "egress-port"),
        ("https://api.example.org:0/", "egress-port"),
        ("https://api.example.org:0443/", "egress-port"),
        ("https://api.example.org:+443/", "egress-port"),
        ("https://api.example.org:443 /", "egress-url"),
        ("https://api.example.org:65979/", "egress-port"),
        ("https://api.example.org:443.evil.org/", "egress-port"),
        ("https://api.example.org:443:443/", "egress-host"),
        ("https://api.example.org:0x1bb/", "egress-port"),
    ];
    for (url, code) in cases {
        match decide("GET", url, &allowed()) {
            Err(error) => assert_eq!(error.code(), code, "{url:?}: {error}"),
            Ok(target) => panic!("{url:?} went to {target}"),
        }
    }
}

#[test]
fn lengths_are_bounded() {
    let long_label = format!("https://{}.example.org/", "a".repeat(64));
    assert_eq!(decide("GET", &long_label, &allowed()).unwrap_err().code(), "egress-host");
    let long_name = format!("https://{}org/", "a.".repeat(126));
    assert_eq!(decide("GET", &long_name, &allowed()).unwrap_err().code(), "egress-host");
    let url = |len: usize| format!("https://api.example.org/{}", "x".repeat(len - 24));
    decide("GET", &url(MAX_URL_BYTES), &allowed()).unwrap();
    assert_eq!(decide("GET", &url(MAX_URL_BYTES + 1), &allowed()).unwrap_err().code(), "egress-url");
    // What is shown of hostile text is short and has no line ends.
    let error = decide("X\nY", "https://api.example.org/", &allowed()).unwrap_err();
    assert!(!error.to_string().contains('\n'), "{error}");
    let error = decide(&"X".repeat(10_000), "https://api.example.org/", &allowed()).unwrap_err();
    assert!(error.to_string().len() < 200, "{error}");
}

#[test]
fn methods_that_make_tunnels_or_echo_headers_are_denied() {
    for method in ["CONNECT", "connect", "TRACE", "get", "PROPFIND", "", "GET /x", "GET\r\nHost: evil.org"] {
        let error = decide(method, "https://api.example.org/", &allowed()).unwrap_err();
        assert_eq!(error.code(), "egress-method", "{method:?}");
    }
    // What CONNECT asks for is no URL either.
    assert_eq!(decide("GET", "api.example.org:443", &allowed()).unwrap_err().code(), "egress-url");
    for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
        decide(method, "https://api.example.org/", &allowed()).unwrap();
    }
}

#[test]
fn an_empty_list_allows_nothing() {
    let error = decide("GET", "https://api.example.org/", &[]).unwrap_err();
    assert_eq!(error, Denied::NotAllowed("https://api.example.org:443".to_owned()));
}

#[test]
fn entries_have_one_form() {
    let written = |text: &str| text.parse::<Rule>().map(|rule| rule.to_string());
    assert_eq!(written("https://api.example.org").unwrap(), "https://api.example.org:443");
    assert_eq!(written("http://API.example.org.:81").unwrap(), "http://api.example.org:81");
    assert_eq!(written("https://*.example.org").unwrap(), "https://*.example.org:443");
    assert_eq!(written("https://[fd00::1]:8443").unwrap(), "https://[fd00::1]:8443");
    for text in [
        "",
        "*",
        "*://*:*",
        "https://*",
        "https://*.*.example.org",
        "https://*.org",
        "https://*.1.2.3.4",
        "https://a*.example.org",
        "https://api.*.org",
        "https://*example.org",
        "https://*.",
        "ftp://api.example.org",
        "HTTPS://api.example.org",
        "api.example.org",
        "https://api.example.org/",
        "https://api.example.org/v1",
        "https://api.example.org?x",
        "https://user@api.example.org",
        "https://api.example.org:",
        "https://api.example.org:0",
        "https://api.example.org:*",
        "https://127.1",
        "https://é.example.org",
        "https://api example.org",
        "https://[fe80::1%eth0]",
    ] {
        assert!(written(text).is_err(), "{text:?} was taken as {:?}", written(text));
    }
}

/// What every range that must not be dialled holds at its edges, and what it is.
const BLOCKED: &[(&str, Blocked)] = &[
    ("0.0.0.0", Blocked::Unspecified),
    ("0.255.255.255", Blocked::Unspecified),
    ("10.0.0.0", Blocked::Private),
    ("10.255.255.255", Blocked::Private),
    ("100.64.0.0", Blocked::Shared),
    ("100.127.255.255", Blocked::Shared),
    ("100.100.100.200", Blocked::Metadata),
    ("127.0.0.1", Blocked::Loopback),
    ("127.255.255.254", Blocked::Loopback),
    ("168.63.129.16", Blocked::Metadata),
    ("169.254.0.1", Blocked::LinkLocal),
    ("169.254.169.254", Blocked::Metadata),
    ("169.254.170.2", Blocked::Metadata),
    ("172.16.0.0", Blocked::Private),
    ("172.31.255.255", Blocked::Private),
    ("192.0.0.192", Blocked::Reserved),
    ("192.0.2.1", Blocked::Documentation),
    ("192.88.99.1", Blocked::Embedded),
    ("192.168.0.0", Blocked::Private),
    ("192.168.255.255", Blocked::Private),
    ("198.18.0.0", Blocked::Benchmark),
    ("198.19.255.255", Blocked::Benchmark),
    ("198.51.100.7", Blocked::Documentation),
    ("203.0.113.7", Blocked::Documentation),
    ("224.0.0.1", Blocked::Multicast),
    ("239.255.255.250", Blocked::Multicast),
    ("233.252.0.1", Blocked::Documentation),
    ("240.0.0.1", Blocked::Reserved),
    ("255.255.255.254", Blocked::Reserved),
    ("255.255.255.255", Blocked::Broadcast),
    ("::", Blocked::Unspecified),
    ("::1", Blocked::Loopback),
    // IPv4-compatible, mapped, translated, tunnelled: all 127.0.0.1 or 10.0.0.1 inside.
    ("::127.0.0.1", Blocked::Embedded),
    ("::ffff:127.0.0.1", Blocked::Loopback),
    ("::ffff:10.0.0.1", Blocked::Private),
    ("::ffff:169.254.169.254", Blocked::Metadata),
    ("::ffff:0:127.0.0.1", Blocked::Embedded),
    ("64:ff9b::7f00:1", Blocked::Embedded),
    ("64:ff9b::a9fe:a9fe", Blocked::Embedded),
    ("64:ff9b:1::7f00:1", Blocked::Embedded),
    ("2002:7f00:1::", Blocked::Embedded),
    ("2002:a00:1::1", Blocked::Embedded),
    ("2001:0:4136:e378:8000:63bf:3fff:fdd2", Blocked::Embedded),
    ("2001:2::1", Blocked::Benchmark),
    ("2001:10::1", Blocked::Reserved),
    ("2001:20::1", Blocked::Reserved),
    ("2001:db8::1", Blocked::Documentation),
    ("3fff::1", Blocked::Documentation),
    ("100::1", Blocked::Reserved),
    ("5f00::1", Blocked::Reserved),
    ("4000::1", Blocked::Reserved),
    ("8000::1", Blocked::Reserved),
    ("fc00::1", Blocked::Private),
    ("fd12:3456::1", Blocked::Private),
    ("fd00:ec2::254", Blocked::Metadata),
    ("fd20:ce::254", Blocked::Metadata),
    ("fe80::1", Blocked::LinkLocal),
    ("febf::1", Blocked::LinkLocal),
    ("fec0::1", Blocked::Private),
    ("ff02::1", Blocked::Multicast),
];

const PUBLIC: &[&str] = &[
    "1.1.1.1",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.0",
    "169.253.255.255",
    "172.15.255.255",
    "172.32.0.0",
    "192.0.1.0",
    "192.167.255.255",
    "192.169.0.0",
    "198.17.255.255",
    "198.20.0.0",
    "223.255.255.255",
    "2001:200::1",
    "2001:4860:4860::8888",
    "2003::1",
    "2606:4700::1111",
    "2a00:1450::1",
];

fn target(url: &str) -> eigenshift_plugin::capability::egress::Target {
    let rule = url.trim_end_matches('/').parse().unwrap();
    decide("GET", url, &[rule]).unwrap()
}

#[test]
fn addresses_inside_are_blocked_whatever_name_leads_there() {
    let target = target("https://api.example.org/");
    for (address, why) in BLOCKED {
        let error = filter(&target, &[ip(address)], &Policy::default()).unwrap_err();
        assert_eq!(error.code(), "egress-address-blocked");
        match error {
            Denied::AddressBlocked { why: found, .. } => assert_eq!(found, *why, "{address}"),
            other => panic!("{address}: {other}"),
        }
    }
    for address in PUBLIC {
        let kept = filter(&target, &[ip(address)], &Policy::default()).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(kept, [SocketAddr::new(ip(address), 443)]);
    }
}

#[test]
fn an_address_on_the_allow_list_is_blocked_all_the_same() {
    for (address, _) in BLOCKED {
        let host = if address.contains(':') { format!("[{address}]") } else { (*address).to_owned() };
        let target = target(&format!("http://{host}"));
        // What a look-up might say of it plays no part.
        let error = filter(&target, &[ip("1.1.1.1")], &Policy::default()).unwrap_err();
        assert_eq!(error.code(), "egress-address-blocked", "{address}");
    }
}

#[test]
fn of_a_mixed_answer_only_the_public_part_is_dialled() {
    let target = target("https://api.example.org/");
    let answer = [ip("127.0.0.1"), ip("1.1.1.1"), ip("::ffff:10.0.0.1"), ip("2606:4700::1111"), ip("169.254.169.254")];
    let kept = filter(&target, &answer, &Policy::default()).unwrap();
    assert_eq!(kept, [SocketAddr::new(ip("1.1.1.1"), 443), SocketAddr::new(ip("2606:4700::1111"), 443)]);
    let many = vec![ip("1.1.1.1"); 1000];
    assert_eq!(filter(&target, &many, &Policy::default()).unwrap().len(), 16);
    assert_eq!(filter(&target, &[], &Policy::default()).unwrap_err().code(), "egress-no-address");
    let mapped = filter(&target, &[ip("::ffff:1.1.1.1")], &Policy::default()).unwrap();
    assert_eq!(mapped, [SocketAddr::new(ip("1.1.1.1"), 443)], "what is dialled is what was checked");
}

fn policy(host: &str, network: &str) -> Policy {
    let pattern = host
        .strip_prefix("*.")
        .map_or_else(|| Pattern::Exact(Host::Name(host.to_owned())), |suffix| Pattern::Below(suffix.to_owned()));
    Policy { allow: vec![(pattern, network.parse::<Network>().unwrap())] }
}

#[test]
fn the_operator_allows_a_range_for_a_host_and_no_more() {
    let inside = target("https://price.internal.example.org/");
    let other = target("https://api.example.org/");
    let allow = policy("price.internal.example.org", "10.1.0.0/16");
    filter(&inside, &[ip("10.1.2.3")], &allow).unwrap();
    filter(&inside, &[ip("::ffff:10.1.2.3")], &allow).unwrap();
    filter(&inside, &[ip("10.2.2.3")], &allow).unwrap_err();
    filter(&other, &[ip("10.1.2.3")], &allow).unwrap_err();
    filter(&inside, &[ip("10.1.2.3")], &policy("*.internal.example.org", "10.0.0.0/8")).unwrap();
    filter(&inside, &[ip("127.0.0.1")], &policy("price.internal.example.org", "127.0.0.1")).unwrap();
    filter(&inside, &[ip("fd12::1")], &policy("price.internal.example.org", "fd12::/32")).unwrap();
    filter(&inside, &[ip("fd13::1")], &policy("price.internal.example.org", "fd12::/32")).unwrap_err();
}

#[test]
fn a_metadata_service_must_be_named_by_its_own_address() {
    let host = "price.internal.example.org";
    let target = target("http://price.internal.example.org/");
    let metadata = [ip("169.254.169.254")];
    for wide in ["169.254.0.0/16", "0.0.0.0/0", "169.254.169.254/31"] {
        filter(&target, &metadata, &policy(host, wide)).unwrap_err();
    }
    filter(&target, &metadata, &policy(host, "169.254.169.254")).unwrap();
}

#[test]
fn allowing_a_translator_does_not_allow_what_lies_behind_it() {
    let host = "price.internal.example.org";
    let target = target("https://price.internal.example.org/");
    let translator = policy(host, "64:ff9b::/96");
    filter(&target, &[ip("64:ff9b::101:101")], &translator).unwrap();
    filter(&target, &[ip("64:ff9b::7f00:1")], &translator).unwrap_err();
    filter(&target, &[ip("64:ff9b::a9fe:a9fe")], &translator).unwrap_err();
}

#[test]
fn ranges_have_one_form() {
    for text in ["10.0.0.0/8", "10.0.0.5", "0.0.0.0/0", "::/0", "fd00::/8", "::1", "10.0.0.5/32"] {
        text.parse::<Network>().unwrap_or_else(|error| panic!("{error}"));
    }
    for text in
        ["", "10.0.0.0/33", "10.0.0.5/8", "fd00::1/8", "10.0.0.0/", "10.0.0.0/+8", "10/8", "::ffff:10.0.0.0/104", "x"]
    {
        assert!(text.parse::<Network>().is_err(), "{text:?}");
    }
}
