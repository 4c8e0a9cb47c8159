use super::*;

fn refusal(text: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("consilium.toml");
    fs::write(&file, text).unwrap();
    let error = Settings::from_file(&file).unwrap_err().to_string();
    error.split_once("consilium.toml:").unwrap().1.to_string()
}

/// A file, how its refusal begins, and words in it.
fn expect_refusals(files: &[(&str, &str, &[&str])]) {
    for (text, line, words) in files {
        let message = refusal(text);
        assert!(message.starts_with(line), "{text:?}: {message}");
        for word in *words {
            assert!(message.contains(word), "{text:?}: {message}");
        }
    }
}

#[test]
fn wrong_keys_and_values_are_refused_with_line_key_and_reason() {
    expect_refusals(&[
        (
            "demo = true\nhttps = 1\n",
            "2: ",
            &["https", "unknown field"],
        ),
        (
            "[http]\nlisten = \"here\"\n",
            "2: ",
            &["listen", "\"here\" is not ADDR:PORT"],
        ),
        (
            "[media]\nports = \"9-8\"\n",
            "2: ",
            &["ports", "at least 16 ports"],
        ),
        (
            "[[rooms]]\nnumber = \" \"\n",
            "2: ",
            &["number", "must not be empty"],
        ),
        ("[[sip.accounts]]\nuser = \"a\"\n", "1: ", &["password"]),
        (
            "[[sip.accounts]]\nuser = \"a\"\npassword = \"\"\n",
            "3: ",
            &["password: ", "must not be empty"],
        ),
        ("demo = yes\n", "1: ", &["demo"]),
        (
            "[log]\nfilter = \"inof\"\n",
            "2: ",
            &["filter: ", "inof", "error, warn, info"],
        ),
        (
            "[log]\nfilter = \"mcu_media=loud\"\n",
            "2: ",
            &["filter: ", "is no filter"],
        ),
        (
            "[[rooms]]\nnumber = \"1\"\n[[rooms]]\nguests = true\nnumber = \"1\"\n",
            "5: ",
            &["number: ", "room of line 2"],
        ),
        (
            "[sip]\naccounts = [\n{ user = \"a\", password = \"x\" },\n\
             { user = \"a\", password = \"y\" },\n]\n",
            "4: ",
            &["user: ", "account of line 3"],
        ),
    ]);
}

#[test]
fn wrong_media_addresses_are_refused_with_line_key_and_reason() {
    expect_refusals(&[
        (
            "[media]\naddresses = [\n  \"10.1.2.3\",\n  \"0.0.0.0\",\n]\n",
            "4: ",
            &["addresses: ", "peers cannot send to 0.0.0.0"],
        ),
        (
            "[media]\naddresses = [\"::\"]\n",
            "2: ",
            &["addresses: ", "peers cannot send to ::"],
        ),
        (
            "[media]\naddresses = [\"fe80::1\"]\n",
            "2: ",
            &["addresses: ", "link-local"],
        ),
        (
            "[media]\naddresses = [{ address = \"10.1.2.3\", networks = [\"10.1.2.3/8\"] }]\n",
            "2: ",
            &["networks: ", "10.1.2.3/8", "written 10.0.0.0/8"],
        ),
        (
            "[[media.addresses]]\naddress = \"10.1.2.3\"\nadvertised = \"2001:db8::1\"\n",
            "1: ",
            &["addresses: ", "advertised must be of the same family"],
        ),
        (
            "[media]\naddresses = [{ address = \"10.1.2.3\", network = \"::/0\" }]\n",
            "2: ",
            &["unknown field", "networks"],
        ),
        (
            "[media]\naddresses = [{ advertised = \"10.1.2.3\" }]\n",
            "2: ",
            &["missing field", "address"],
        ),
    ]);
}

#[test]
fn old_tls_is_off_unless_a_listener_over_tls_says_otherwise() {
    let listener = |more: &str| {
        let text =
            format!("[[sip.listeners]]\nprotocol = \"tls\"\nlisten = \"0.0.0.0:5061\"\n{more}");
        let settings: Settings = toml::from_str(&text).unwrap();
        settings.control().sip_listeners[0].legacy_tls
    };
    assert!(!listener(""));
    assert!(!listener("legacy_tls = false"));
    assert!(listener("legacy_tls = true"));
    expect_refusals(&[(
        "[[sip.listeners]]\nprotocol = \"wss\"\nlisten = \"0.0.0.0:5062\"\nlegacy_tls = true\n",
        "4: ",
        &["legacy_tls: ", "only over tls"],
    )]);
}

#[test]
fn a_wrong_directory_is_refused_with_line_key_and_reason() {
    let with = |lines: &str| format!("[ldap]\nbase = \"dc=x\"\n{lines}");
    let files = [
        ("url = \"http://d\"\n", "3: ", ["url: ", "ldaps://HOST"]),
        (
            "url = \"ldap://d\"\nbind_dn = \"cn=r\"\n",
            "4: ",
            ["bind_dn: ", "needs password"],
        ),
        (
            "url = \"ldap://d\"\npassword = \"geheim\"\n",
            "4: ",
            ["password: ", "needs bind_dn"],
        ),
        (
            "url = \"ldap://d\"\nfilter = \"(uid=x)\"\n",
            "4: ",
            ["filter: ", "must hold {login}"],
        ),
        (
            "url = \"ldap://d\"\nfilter = \"uid={login}\"\n",
            "4: ",
            ["filter: ", "in parentheses"],
        ),
        (
            "url = \"ldap://d\"\nlogin = \"u=d\"\n",
            "4: ",
            ["login: ", "name of an attribute"],
        ),
        (
            "url = \"ldap://d\"\n[[ldap.roles]]\ngroup = \"cn=g\"\n",
            "4: ",
            ["ldap.roles: ", "role"],
        ),
    ];
    for (lines, line, words) in files {
        let message = refusal(&with(lines));
        assert!(message.starts_with(line), "{lines:?}: {message}");
        assert!(
            words.iter().all(|word| message.contains(word)),
            "{lines:?}: {message}"
        );
        assert!(!message.contains("geheim"), "{message}");
    }
    assert!(refusal("[ldap]\nurl = \"ldaps://d\"\n").contains("base"));
}

#[test]
fn a_wrong_provider_is_refused_with_line_key_and_reason() {
    expect_refusals(&[
        (
            "[oidc]\nclient_id = \"c\"\nissuer = \"http://id.example\"\n",
            "3: ",
            &["issuer: ", "https://HOST"],
        ),
        (
            "[oidc]\nissuer = \"https://id.example\"\n",
            "1: ",
            &["client_id"],
        ),
        (
            "[oidc]\nissuer = \"https://id.example\"\nclient_id = \"c\"\nclaim = \"name\"\n",
            "4: ",
            &["claim: ", "preferred_username"],
        ),
        (
            "[saml]\nmetadata = \"http://id.example/m\"\nentity_id = \"https://a\"\n",
            "2: ",
            &["metadata: ", "https://HOST"],
        ),
        (
            "[saml]\nmetadata = \"idp.xml\"\nentity_id = \"a\"\n",
            "3: ",
            &["entity_id: ", "URI"],
        ),
        ("[saml]\nmetadata = \"idp.xml\"\n", "1: ", &["entity_id"]),
    ]);
}

#[test]
fn a_wrong_log_host_is_refused_with_line_key_and_reason() {
    let with = |line: &str| format!("[audit]\nsyslog = \"tls://log.example\"\n{line}\n");
    expect_refusals(&[
        (
            "[audit]\nsyslog = \"udp://log.example\"\n",
            "2: ",
            &["syslog: ", "tls://HOST"],
        ),
        (
            &with("syslog_key = \"k.pem\""),
            "3: ",
            &["syslog_key: ", "needs syslog_certificate"],
        ),
        (
            &with("syslog_certificate = \"c.pem\""),
            "3: ",
            &["syslog_certificate: ", "needs syslog_key"],
        ),
        (
            "[audit]\nsyslog_atna = true\n",
            "2: ",
            &["syslog_atna: ", "needs syslog"],
        ),
        (
            &with("syslog_entries = true\nsyslog_atna = true"),
            "4: ",
            &["syslog_atna: ", "one way"],
        ),
        (
            "[audit]\nsyslog_entries = true\n",
            "2: ",
            &["syslog_entries: ", "needs syslog"],
        ),
    ]);
}

#[test]
fn metrics_are_told_in_clear_on_this_machine_alone() {
    for address in ["0.0.0.0:9464", "192.0.2.1:9464", "[::]:9464"] {
        let file = format!("[metrics]\nlisten = \"{address}\"\n");
        let words: &[&str] = &["listen: ", "this machine alone", "token"];
        expect_refusals(&[(&file, "2: ", words)]);
    }
    for address in ["127.0.0.1:9464", "[::1]:9464"] {
        let mut settings: Settings =
            toml::from_str(&format!("[metrics]\nlisten = \"{address}\"\n")).unwrap();
        settings.check("").unwrap();
        let told = settings.manager().metrics;
        assert_eq!(told, Some(address.parse().unwrap()));
    }
    assert_eq!(Settings::default().manager().metrics, None);
}

#[test]
fn wrong_listeners_are_refused_with_line_key_and_reason() {
    expect_refusals(&[
        (
            "[[sip.listeners]]\nprotocol = \"tsl\"\nlisten = \"0.0.0.0:5061\"\n",
            "2: ",
            &["protocol: ", "tsl", "tls"],
        ),
        (
            "[[sip.listeners]]\nprotocol = \"tls\"\n",
            "1: ",
            &["listen"],
        ),
        (
            "[[sip.listeners]]\nprotocol = \"tcp\"\nlisten = \"10.1.2.3:5061\"\n\
             [[sip.listeners]]\nprotocol = \"tls\"\nlisten = \"10.1.2.3:5061\"\n",
            "4: ",
            &["listeners: ", "another listener has this address"],
        ),
        (
            "[[sip.listeners]]\nprotocol = \"udp\"\nlisten = \"0.0.0.0:5060\"\n",
            "1: ",
            &["listeners: ", "another listener has this address"],
        ),
        (
            "[[sip.listeners]]\nprotocol = \"udp\"\nlisten = \"0.0.0.0:0\"\n",
            "1: ",
            &["listeners: ", "port 0"],
        ),
        (
            "[[sip.listeners]]\nprotocol = \"tls\"\nlisten = \"0.0.0.0:5061\"\nsrtp = \"on\"\n",
            "4: ",
            &["srtp: ", "required"],
        ),
        (
            "[[sip.listeners]]\nprotocol = \"ws\"\nlisten = \"0.0.0.0:5062\"\nclient_ca = \"a.pem\"\n",
            "4: ",
            &["client_ca: ", "only over tls and wss"],
        ),
        (
            "[[sip.listeners]]\nprotocol = \"wss\"\nlisten = \"0.0.0.0:5062\"\n\
             client_certificates = \"required\"\n",
            "4: ",
            &["client_certificates: ", "needs client_ca"],
        ),
        (
            "[[sip.listeners]]\nprotocol = \"tls\"\nlisten = \"0.0.0.0:5061\"\norigins = []\n",
            "4: ",
            &["origins: ", "only over ws and wss"],
        ),
        (
            "[[sip.listeners]]\nprotocol = \"wss\"\nlisten = \"0.0.0.0:5062\"\n\
             origins = [\"https://a.example/\"]\n",
            "4: ",
            &["origins: ", "https://a.example/ is not written like"],
        ),
        (
            "[sip]\ncertificate = \"a.pem\"\n",
            "2: ",
            &["certificate: ", "without key"],
        ),
        (
            "[sip]\nkey = \"a.pem\"\n",
            "2: ",
            &["key: ", "without certificate"],
        ),
    ]);
}

/// MCU-05.
#[test]
fn processors_for_calls_are_refused_where_there_can_be_no_so_many() {
    let refused: &[&str] = &["processors: ", "from 0.1 to 1024"];
    let file = |count: &str| format!("[limits]\nprocessors = {count}\n");
    for count in ["0", "-1.5", "1025", "nan"] {
        expect_refusals(&[(&file(count), "2: ", refused)]);
    }
}

/// Defect: what named a peer of IPv4 as IPv6 maps it meant nobody.
#[test]
fn an_address_of_ipv4_is_refused_as_ipv6_maps_it() {
    expect_refusals(&[
        (
            "[media]\naddresses = [\"::ffff:10.1.2.3\"]\n",
            "2: ",
            &["addresses: ", "::ffff:10.1.2.3 is written 10.1.2.3"],
        ),
        (
            "[media]\naddresses = [{ address = \"10.1.2.3\",\n\
             networks = [\"::ffff:10.0.0.0/104\"] }]\n",
            "3: ",
            &["networks: ", "a network of IPv4 is written as such"],
        ),
        (
            "[[sip.listeners]]\nprotocol = \"tcp\"\nlisten = \"[::ffff:10.1.2.3]:5062\"\n",
            "3: ",
            &["listen: ", "::ffff:10.1.2.3 is written 10.1.2.3"],
        ),
        (
            "[sip]\nlisten = \"[::ffff:10.1.2.3]:5060\"\n",
            "2: ",
            &["listen: ", "::ffff:10.1.2.3 is written 10.1.2.3"],
        ),
        (
            "[[sip.trunks]]\nname = \"a\"\naddress = \"[::ffff:10.0.0.5]:5060\"\n",
            "3: ",
            &["address: ", "an address of IPv4 is written as such"],
        ),
        (
            "[[sip.trunks]]\nname = \"a\"\naddress = \"10.0.0.5\"\n\
             sources = [\n  \"10.0.0.5\",\n  \"::ffff:10.0.0.6\",\n]\n",
            "6: ",
            &["sources: ", "::ffff:10.0.0.6 is written 10.0.0.6"],
        ),
    ]);
}

#[test]
fn wrong_pins_and_rules_are_refused_with_line_key_and_reason() {
    expect_refusals(&[
        (
            "[[rooms]]\nnumber = \"1\"\nmax_height = 1081\n",
            "3: ",
            &["max_height: ", "one of [1080, 720, 540, 360, 180]"],
        ),
        (
            "[[rooms]]\nnumber = \"1\"\nmax_frame_rate = 50\n",
            "3: ",
            &["max_frame_rate: ", "one of [60, 30]"],
        ),
        (
            "[[rooms]]\nnumber = \"1\"\nmax_legs = 1\n",
            "3: ",
            &["max_legs: ", "from 2 to 1000"],
        ),
        (
            "[[rooms]]\nnumber = \"1\"\nlayout = \"mosaic\"\n",
            "3: ",
            &["layout: ", "a layout is one of equal, speaker", "1_12"],
        ),
        (
            "[[rooms]]\nnumber = \"1\"\npin = \"12a4\"\n",
            "3: ",
            &["pin: ", "4 to 16 digits"],
        ),
        (
            "[[rooms]]\nnumber = \"1\"\nguest_pin = \"1234\"\n",
            "3: ",
            &["guest_pin: ", "guests may not enter"],
        ),
        (
            "[[dialplan]]\nnumber = \"9\"\nroom = \"1\"\n",
            "3: ",
            &["room: ", "no room has this number"],
        ),
        (
            "[[rooms]]\nnumber = \"1\"\n[[dialplan]]\nprefix = \"\"\nroom = \"1\"\n\
             [[dialplan]]\nnumber = \"7\"\nrefuse = 404\n",
            "6: ",
            &["dialplan: ", "never reached", "rule of line 3"],
        ),
        (
            "[[dialplan]]\nnumber = \"9\"\nrefuse = 401\n",
            "3: ",
            &["refuse: ", "400 to 699"],
        ),
        (
            "[[dialplan]]\nuri = \"sip:a@b\"\nrefuse = 404\n",
            "2: ",
            &["uri: ", "USER@HOST"],
        ),
        (
            "[[dialplan]]\nnumber = \"9\"\nprefix = \"9\"\nrefuse = 404\n",
            "1: ",
            &["dialplan: ", "one of number, uri and prefix"],
        ),
        (
            "demo = true\n\n[[dialplan]]\nnumber = \"9\"\n",
            "3: ",
            &["dialplan: ", "one of room, trunk and refuse"],
        ),
        (
            "[[dialplan]]\nnumber = \"9\"\nrefuse = 404\npin = false\n",
            "4: ",
            &["pin: ", "only a rule with room"],
        ),
    ]);
}

#[test]
fn wrong_trunks_are_refused_with_line_key_and_reason() {
    expect_refusals(&[
        (
            "[[dialplan]]\nprefix = \"0\"\ntrunk = \"city\"\n",
            "3: ",
            &["trunk: ", "no trunk has this name"],
        ),
        (
            "[[dialplan]]\nfrom_trunk = \"city\"\nprefix = \"0\"\nrefuse = 404\n",
            "2: ",
            &["from_trunk: ", "no trunk has this name"],
        ),
        (
            "[[sip.trunks]]\nname = \"a\"\naddress = \"a.example\"\ntransport = \"tls\"\n",
            "4: ",
            &["transport: ", "needs a listener with \"tls\""],
        ),
        (
            "[[sip.trunks]]\nname = \"a\"\naddress = \"10.0.0.5\"\ntransport = \"tls\"\n\
             [[sip.listeners]]\nprotocol = \"tls\"\nlisten = \"127.0.0.1:5061\"\n",
            "4: ",
            &["transport: ", "an address that is a name"],
        ),
        (
            "[sip]\ndns = [\n\"10.0.0.1\",\n\"dns.example\",\n]\n",
            "4: ",
            &["dns: ", "neither ADDR nor ADDR:PORT"],
        ),
        (
            "[[sip.trunks]]\nname = \"a\"\naddress = \"10.0.0.5:5060\"\nregister = true\n",
            "4: ",
            &["register: ", "needs user"],
        ),
        (
            "[[sip.trunks]]\nname = \"a\"\naddress = \"sip:carrier.example\"\n",
            "3: ",
            &["address: ", "HOST:PORT"],
        ),
        (
            "[[sip.trunks]]\nname = \"a\"\naddress = \"carrier.example\"\nrealm = \"b\"\n",
            "4: ",
            &["realm: ", "needs user and password"],
        ),
        (
            "[[sip.trunks]]\nname = \"a\"\naddress = \"10.0.0.5:5060\"\n\
             [[sip.trunks]]\nname = \"a\"\naddress = \"10.0.0.6:5060\"\n",
            "5: ",
            &["name: ", "trunk of line 2"],
        ),
    ]);
}

/// Defect: a wrong limit was refused without its name.
#[test]
fn every_documented_key_is_named_when_its_value_is_wrong() {
    let documented = include_str!("../../docs/ref/configuration.md");
    let rows = documented
        .lines()
        .filter_map(|line| line.strip_prefix("| "));
    let cells = rows.filter_map(|row| row.split(" | ").next());
    let spans = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2));
    let keys: Vec<&str> = spans
        .filter_map(|span| span.split(' ').next_back())
        .collect();
    assert!(keys.len() > 40, "{keys:?}");
    for key in keys {
        assert!(refusal::is_known(key), "{key}");
    }
    expect_refusals(&[("[limits]\nlegs = 0\n", "2: ", &["legs: "])]);
}

/// Defect: a password of digits was shown by the refusal of its type.
#[test]
fn a_password_is_never_in_a_refusal_or_in_debug_output() {
    for wrong in [
        "password = \"73541\" x",
        "password = 73541",
        "password = 73541.73541",
        "password = 73541x",
        "password = 73541735417354173541735417354173541",
        "password = 7354-12-31",
        "password = 73541-12-31",
        "password = [\"73541\"]",
        "password = { 73541 = 73541 }",
        "password = \"73541",
        "password = '''\na=73541\nnumber=73541 '' '''x",
        "password = \"\"\"\n73541=1\n\\q\"\"\"",
        "password = \"73541\"\npassword = \"73541\"",
        "password = \"\\73541\"",
        "password: 73541",
    ] {
        let message = refusal(&format!("[[sip.accounts]]\nuser = \"a\"\n{wrong}\n"));
        assert!(!message.contains("7354"), "{wrong}: {message}");
    }
    for wrong in [
        "pin = 73541",
        "pin = \"735x\"",
        "pin = \"735417354173541735417\"",
    ] {
        let message = refusal(&format!("[[rooms]]\nnumber = \"1\"\n{wrong}\n"));
        assert!(!message.contains("735"), "{wrong}: {message}");
        assert!(message.contains("pin: "), "{wrong}: {message}");
    }
    for wrong in ["accounts = \"73541\"", "accounts = [\"a:73541\"]"] {
        let message = refusal(&format!("[sip]\n{wrong}\n"));
        assert!(!message.contains("7354"), "{wrong}: {message}");
    }
    let settings: Settings =
        toml::from_str("[[sip.accounts]]\nuser = \"a\"\npassword = \"geheim\"\n").unwrap();
    assert!(!format!("{settings:?}").contains("geheim"));
    let settings: Settings =
        toml::from_str("[[rooms]]\nnumber = \"1\"\npin = \"73541\"\n").unwrap();
    assert!(!format!("{settings:?} {:?}", settings.control()).contains("73541"));
}

#[test]
fn wrong_relays_and_ports_are_refused_and_a_secret_is_never_shown() {
    expect_refusals(&[
        (
            "[turn]\nurls = [\"https://turn.example\"]\nsecret = \"s\"\n",
            "2: ",
            &["urls: ", "turns:turn.example:443"],
        ),
        (
            "[turn]\nurls = []\nsecret = \"s\"\n",
            "2: ",
            &["urls: ", "must name a relay"],
        ),
        ("[turn]\nurls = [\"turn:a\"]\n", "1: ", &["secret"]),
        ("[media]\ntcp_port = 70000\n", "2: ", &["tcp_port: "]),
    ]);
    for wrong in ["secret = 73541", "secret = [\"73541\"]", "secret: 73541"] {
        let message = refusal(&format!("[turn]\nurls = [\"turn:a\"]\n{wrong}\n"));
        assert!(!message.contains("7354"), "{wrong}: {message}");
    }
    let text = "[turn]\nurls = [\"turn:a\"]\nsecret = \"geheim\"\n";
    let settings: Settings = toml::from_str(text).unwrap();
    let shown = format!("{settings:?} {:?}", settings.control());
    assert!(
        !shown.contains("geheim") && shown.contains("turn:a"),
        "{shown}"
    );
}

#[test]
fn browsers_are_told_the_pages_port_at_addresses_where_it_listens() {
    let told = |text: &str| {
        let media = "[media]\naddresses = [\"10.1.2.3\", \"2001:db8::3\"]\n";
        let settings: Settings = toml::from_str(&format!("{media}{text}")).unwrap();
        let told = settings.control().browser_tcp;
        told.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let v4 = told("[http]\nlisten = \"0.0.0.0:8443\"");
    assert_eq!(v4, ["10.1.2.3:8443"]);
    if host::any().is_ipv6() {
        assert_eq!(told(""), ["10.1.2.3:8443", "[2001:db8::3]:8443"]);
    }
    let both = ["10.1.2.3:443", "[2001:db8::3]:443"];
    assert_eq!(told("[http]\nlisten = \"[::]:443\""), both);
    assert_eq!(told("[http]\nlisten = \"10.1.2.3:443\""), both[..1]);
    let none: [&str; 0] = [];
    assert_eq!(told("[http]\nlisten = \"127.0.0.1:8443\""), none);
    assert_eq!(
        told("tcp_port = 443\n[http]\nlisten = \"127.0.0.1:8443\""),
        both
    );
    assert_eq!(told("tcp_port = 0"), none);
}

#[test]
fn peers_are_told_the_address_before_a_translation_and_each_once() {
    let text = "[http]\nlisten = \"[::]:443\"\n[media]\naddresses = [\n\
        { address = \"192.168.7.4\", networks = [\"192.168.0.0/16\"] },\n\
        { address = \"192.168.7.4\", advertised = \"203.0.113.7\" },\n\
        { address = \"192.168.8.4\", advertised = \"203.0.113.7\" },\n]\n";
    let settings: Settings = toml::from_str(text).unwrap();
    let told: Vec<String> = settings
        .told_addresses()
        .iter()
        .map(|a| a.to_string())
        .collect();
    assert_eq!(told, ["192.168.7.4", "203.0.113.7"]);
    let by_tcp = settings.control().browser_tcp;
    let by_tcp: Vec<String> = by_tcp.iter().map(ToString::to_string).collect();
    assert_eq!(by_tcp, ["192.168.7.4:443", "203.0.113.7:443"]);
    assert_eq!(settings.media().addresses.len(), 3);
}

/// Defect: a host without IPv4 had a server that nobody could reach.
#[test]
fn sip_takes_both_families_unless_told_otherwise() {
    let listen = |text: &str| {
        let settings: Settings = toml::from_str(text).unwrap();
        listeners::check(&settings.sip).unwrap();
        settings.sip.listen().to_string()
    };
    let any = SocketAddr::new(host::any(), 5060).to_string();
    assert_eq!(listen(""), any);
    assert_eq!(listen("[sip]\nlisten = \"10.1.2.3:5070\""), "10.1.2.3:5070");
    let further = "[[sip.listeners]]\nprotocol = \"udp\"\nlisten = ";
    assert_eq!(listen(&format!("{further}\"[::]:5060\"")), "0.0.0.0:5060");
    assert_eq!(listen(&format!("{further}\"[::]:5070\"")), any);
}

#[test]
fn rules_come_in_their_order_and_ask_for_pins_unless_told_not_to() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("consilium.toml");
    let text = "demo = true\n\
        [[dialplan]]\nuri = \"board@hospital.example\"\nroom = \"3000\"\npin = false\n\
        [[dialplan]]\nnumber = \"board\"\nroom = \"3000\"\n\
        [[dialplan]]\nprefix = \"9\"\nrefuse = 603\n";
    fs::write(&file, text).unwrap();
    let rules = Settings::from_file(&file).unwrap().control().dialplan;
    use mcu_control::dialplan::{Action, Pattern};
    let pins = rules.iter().map(|rule| match &rule.action {
        Action::Room { pin, .. } => Some(*pin),
        Action::Trunk { .. } | Action::Refuse(_) => None,
    });
    assert_eq!(pins.collect::<Vec<_>>(), [Some(false), Some(true), None]);
    assert_eq!(rules[2].pattern, Pattern::Prefix("9".into()));
}
