//! Servers known by name: `resolvers` sections, templates, SRV records, `do-resolve`, and the
//! control socket's part in it. The name server is a thread of the test.

use hickory_proto::op::{Message, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, SRV};
use hickory_proto::rr::{Name, RData, Record};
use lab::{Client, Program, Proxy, Server, each, port};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// What the name server says to a name.
#[derive(Clone, Debug)]
enum Says {
    Records(Vec<RData>),
    Code(ResponseCode),
    /// Nothing.
    Silence,
    /// Over UDP only that it does not fit.
    Long(Vec<RData>),
}

type Zone = Arc<Mutex<HashMap<String, Says>>>;

struct NameServer {
    addr: SocketAddr,
    zone: Zone,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

fn name(text: &str) -> Name {
    Name::from_ascii(format!("{text}.")).expect("a name")
}

fn ip(text: &str) -> RData {
    match text.parse().expect("an address") {
        IpAddr::V4(ip) => RData::A(A(ip)),
        IpAddr::V6(ip) => RData::AAAA(AAAA(ip)),
    }
}

fn place(weight: u16, port: u16, host: &str) -> RData {
    RData::SRV(SRV::new(1, weight, port, name(host)))
}

fn answer(zone: &Zone, bytes: &[u8], udp: bool) -> Option<Vec<u8>> {
    let asked = Message::from_vec(bytes).ok()?;
    let query: Query = asked.queries.first()?.clone();
    let text = query.name().to_ascii().to_lowercase();
    let says = zone.lock().expect("unpoisoned");
    let says = says.get(text.trim_end_matches('.')).cloned();
    let mut message = Message::response(asked.metadata.id, OpCode::Query);
    message.metadata.recursion_available = true;
    message.add_query(query.clone());
    let records = match says.unwrap_or(Says::Code(ResponseCode::NXDomain)) {
        Says::Records(records) => records,
        Says::Long(_) if udp => {
            message.metadata.truncation = true;
            Vec::new()
        }
        Says::Long(records) => records,
        Says::Code(code) => {
            message.metadata.response_code = code;
            Vec::new()
        }
        Says::Silence => return None,
    };
    for data in records {
        let fits = data.record_type() == query.query_type() || matches!(data, RData::CNAME(_));
        if fits {
            message.add_answer(Record::from_rdata(query.name().clone(), 5, data));
        }
    }
    message.to_vec().ok()
}

impl NameServer {
    fn start() -> NameServer {
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind("127.0.0.1:0").expect("a port");
            let addr = udp.local_addr().expect("an address");
            if let Ok(tcp) = TcpListener::bind(addr) {
                break (udp, tcp);
            }
        };
        let addr = udp.local_addr().expect("an address");
        let (zone, stop) = (Zone::default(), Arc::new(AtomicBool::new(false)));
        udp.set_read_timeout(Some(Duration::from_millis(50)))
            .expect("a timeout");
        tcp.set_nonblocking(true).expect("it can be asked");
        let (z, s) = (Arc::clone(&zone), Arc::clone(&stop));
        let over_udp = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while !s.load(SeqCst) {
                let Ok((n, from)) = udp.recv_from(&mut buffer) else {
                    continue;
                };
                if let Some(bytes) = answer(&z, &buffer[..n], true) {
                    let _ = udp.send_to(&bytes, from);
                }
            }
        });
        let (z, s) = (Arc::clone(&zone), Arc::clone(&stop));
        let over_tcp = std::thread::spawn(move || {
            while !s.load(SeqCst) {
                match tcp.accept() {
                    Ok((stream, _)) => {
                        let zone = Arc::clone(&z);
                        std::thread::spawn(move || serve_stream(stream, &zone));
                    }
                    Err(_) => std::thread::sleep(Duration::from_millis(10)),
                }
            }
        });
        NameServer {
            addr,
            zone,
            stop,
            threads: vec![over_udp, over_tcp],
        }
    }

    fn says(&self, name: &str, says: Says) {
        self.zone
            .lock()
            .expect("unpoisoned")
            .insert(name.into(), says);
    }

    fn has(&self, name: &str, records: Vec<RData>) {
        self.says(name, Says::Records(records));
    }
}

fn serve_stream(mut stream: std::net::TcpStream, zone: &Zone) {
    let _ = stream.set_nonblocking(false);
    let _ = stream.set_read_timeout(Some(Duration::from_secs(20)));
    let mut length = [0; 2];
    while stream.read_exact(&mut length).is_ok() {
        let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
        if stream.read_exact(&mut message).is_err() {
            return;
        }
        if let Some(bytes) = answer(zone, &message, false) {
            let mut framed = (bytes.len() as u16).to_be_bytes().to_vec();
            framed.extend(bytes);
            let _ = stream.write_all(&framed);
        }
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.stop.store(true, SeqCst);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Two web servers on one port of two addresses.
fn twins() -> (Server, Server, u16) {
    let script = |name: &'static str| {
        move |_: &str, stream: &mut std::net::TcpStream| {
            let text = format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Server: {name}\r\n\r\n");
            stream.write_all(text.as_bytes()).is_ok()
        }
    };
    loop {
        let one = lab::listener();
        let port = one.local_addr().expect("an address").port();
        if let Ok(two) = TcpListener::bind((Ipv4Addr::new(127, 0, 0, 2), port)) {
            let (one, two) = (
                Server::on(one, script("one")),
                Server::on(two, script("two")),
            );
            return (one, two, port);
        }
    }
}

/// A section that asks this server five times a second, and defaults.
fn section(server: &NameServer, lines: &str) -> String {
    format!(
        "resolvers dns\n    nameserver ns {}\n    resolve_retries 2\n    timeout resolve 200ms\n    timeout retry 200ms\n    \
         hold nx 0s\n    hold other 0s\n    hold refused 0s\n    hold timeout 0s\n{lines}\
         defaults\n    mode http\n    timeout client 5s\n    timeout server 5s\n    timeout connect 2s\n",
        server.addr
    )
}

fn served_by(web: u16) -> String {
    let answer = lab::get(web, "/");
    answer
        .header("x-server")
        .unwrap_or_else(|| answer.status.to_string())
}

#[test]
fn a_server_goes_where_its_name_goes_and_out_when_it_has_none() {
    each(|program| {
        let (_one, _two, at) = twins();
        let dns = NameServer::start();
        dns.has("app.test", vec![ip("127.0.0.1")]);
        let web = port();
        let config = section(&dns, "");
        let proxy = Proxy::start(
            program,
            &format!(
                "{config}listen web\n    bind 127.0.0.1:{web}\n    retries 0\n    \
                 server s app.test:{at} resolvers dns init-addr none\n"
            ),
        );
        proxy.wait_for("web", "s", "status", "no check");
        assert_eq!(served_by(web), "one", "{}", program.name);
        dns.has("app.test", vec![ip("127.0.0.2")]);
        proxy.wait_for("web", "s", "addr", &format!("127.0.0.2:{at}"));
        assert_eq!(served_by(web), "two", "{}", program.name);
        // An alias is followed.
        for says in [
            Says::Code(ResponseCode::NXDomain),
            Says::Code(ResponseCode::Refused),
            Says::Code(ResponseCode::ServFail),
            Says::Silence,
        ] {
            dns.says("app.test", says.clone());
            proxy.wait_for("web", "s", "status", "MAINT (resolution)");
            assert_eq!(served_by(web), "503", "{} {says:?}", program.name);
            dns.has("app.test", vec![ip("127.0.0.1")]);
            proxy.wait_for("web", "s", "status", "no check");
            assert_eq!(served_by(web), "one", "{} {says:?}", program.name);
        }
        let state = proxy.control("show servers state web");
        assert!(state.contains(&format!(" app.test {at} - ")), "{state}");
    });
}

#[test]
fn a_good_answer_holds_against_bad_ones() {
    each(|program| {
        let (_one, _two, at) = twins();
        let dns = NameServer::start();
        dns.has("app.test", vec![ip("127.0.0.1")]);
        dns.has("mark.test", vec![ip("127.0.0.1")]);
        let web = port();
        let config = section(&dns, "    hold nx 1h\n    hold refused 1h\n");
        let proxy = Proxy::start(
            program,
            &format!(
                "{config}listen web\n    bind 127.0.0.1:{web}\n    \
                 server s app.test:{at} resolvers dns init-addr none\n    \
                 server mark mark.test:{at} resolvers dns init-addr none backup\n"
            ),
        );
        proxy.wait_for("web", "s", "status", "no check");
        proxy.wait_for("web", "mark", "status", "no check");
        dns.says("app.test", Says::Code(ResponseCode::NXDomain));
        // By the time that this has moved, the other has been asked for, too.
        for other in ["127.0.0.2", "127.0.0.3"] {
            dns.has("mark.test", vec![ip(other)]);
            proxy.wait_for("web", "mark", "addr", &format!("{other}:{at}"));
        }
        assert_eq!(served_by(web), "one", "{}", program.name);
    });
}

#[test]
fn a_template_has_as_many_servers_as_there_are_addresses() {
    each(|program| {
        let dns = NameServer::start();
        dns.has("app.test", vec![ip("127.0.0.1"), ip("127.0.0.2")]);
        dns.has(
            "near.test",
            vec![ip("127.0.0.9"), ip("127.8.0.1"), ip("::9")],
        );
        let config = section(&dns, "");
        let proxy = Proxy::start(
            program,
            &format!(
                "{config}backend app\n    server-template s 3 app.test:8000 resolvers dns init-addr none\n\
                 backend dup\n    server-template s 3 app.test:8000 resolvers dns init-addr none resolve-opts allow-dup-ip\n\
                 backend near\n    default-server resolvers dns init-addr none\n    \
                 server net near.test:80 resolve-prefer ipv4 resolve-net 127.8.0.0/16\n    \
                 server six near.test:80\n"
            ),
        );
        let up = |wanted: usize| {
            for _ in 0..500 {
                let count = |n| proxy.stat("app", &format!("s{n}"), "status") == "no check";
                if (1..=3).filter(|n| count(*n)).count() == wanted {
                    return;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            panic!(
                "{}: not {wanted}: {}",
                program.name,
                proxy.control("show stat")
            );
        };
        up(2);
        dns.has(
            "app.test",
            vec![ip("127.0.0.3"), ip("127.0.0.1"), ip("127.0.0.2")],
        );
        up(3);
        let mut addresses: Vec<String> = (1..=3)
            .map(|n| proxy.stat("app", &format!("s{n}"), "addr"))
            .collect();
        addresses.sort();
        assert_eq!(
            addresses,
            ["127.0.0.1:8000", "127.0.0.2:8000", "127.0.0.3:8000"],
            "{}",
            program.name
        );
        dns.has("app.test", vec![ip("127.0.0.3")]);
        up(1);
        for n in 1..=3 {
            proxy.wait_for("dup", &format!("s{n}"), "addr", "127.0.0.3:8000");
        }
        proxy.wait_for("near", "net", "addr", "127.8.0.1:80");
        proxy.wait_for("near", "six", "addr", "[::9]:80");
    });
}

#[test]
fn a_template_takes_the_places_of_a_service() {
    each(|program| {
        let dns = NameServer::start();
        dns.has("h1.test", vec![ip("127.0.0.11")]);
        dns.has("h2.test", vec![ip("127.0.0.12")]);
        dns.has(
            "_http._tcp.test",
            vec![place(2560, 8001, "h1.test"), place(300, 8002, "h2.test")],
        );
        let config = section(&dns, "");
        let proxy = Proxy::start(
            program,
            &format!(
                "{config}backend app\n    server-template s 3 _http._tcp.test resolvers dns init-addr none\n\
                 backend same\n    server-template s 2 _http._tcp.test resolvers dns init-addr none resolve-opts ignore-weight weight 7\n"
            ),
        );
        let servers = || {
            let mut lines: Vec<String> = (1..=3)
                .map(|n| {
                    let field = |f| proxy.stat("app", &format!("s{n}"), f);
                    format!("{} {}", field("addr"), field("weight"))
                })
                .filter(|line| !line.starts_with(' '))
                .collect();
            lines.sort();
            lines
        };
        let wait = |wanted: &[&str]| {
            for _ in 0..500 {
                if servers() == wanted {
                    return;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            panic!("{}: {:?} instead of {wanted:?}", program.name, servers());
        };
        wait(&["127.0.0.11:8001 10", "127.0.0.12:8002 2"]);
        let state = proxy.control("show servers state app");
        assert!(
            state.contains(" h1.test 8001 _http._tcp.test "),
            "{}: {state}",
            program.name
        );
        assert_eq!(proxy.stat("same", "s1", "weight"), "7", "{}", program.name);
        let refused = proxy.control("set server app/s1 fqdn other.test");
        assert!(
            refused.contains("SRV resolution is configured"),
            "{refused}"
        );
        dns.has("_http._tcp.test", vec![place(256, 8003, "h2.test")]);
        wait(&["127.0.0.12:8003 1"]);
    });
}

#[test]
fn a_name_of_the_request_becomes_an_address() {
    each(|program| {
        let dns = NameServer::start();
        dns.has("four.test", vec![ip("127.0.0.4")]);
        dns.has("six.test", vec![ip("::6")]);
        dns.has("both.test", vec![ip("127.0.0.4"), ip("::6")]);
        dns.has("alias.test", vec![RData::CNAME(CNAME(name("alias.test")))]);
        let web = port();
        let config = section(&dns, "    hold valid 0s\n");
        let _proxy = Proxy::start(
            program,
            &format!(
                "{config}listen web\n    bind 127.0.0.1:{web}\n    \
                 http-request do-resolve(txn.four,dns,ipv4) hdr(host),host_only\n    \
                 tcp-request inspect-delay 1s\n    \
                 tcp-request content do-resolve(txn.six,dns,ipv6) hdr(host),host_only\n    \
                 http-request return status 200 content-type text/plain lf-string \"%[var(txn.four)] %[var(txn.six)]\"\n"
            ),
        );
        for (host, wanted) in [
            ("four.test", "127.0.0.4 127.0.0.4"),
            ("six.test:80", "::6 ::6"),
            ("both.test", "127.0.0.4 ::6"),
            ("nobody.test", " "),
            ("alias.test", " "),
        ] {
            let answer = Client::connect(web).ask(&format!(
                "GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
            ));
            assert_eq!(answer.body, wanted, "{} {host}", program.name);
        }
    });
}

#[test]
fn an_answer_is_taken_again_while_it_is_valid() {
    each(|program| {
        let dns = NameServer::start();
        dns.has("app.test", vec![ip("127.0.0.4")]);
        let web = port();
        let config = section(&dns, "    hold valid 1h\n    timeout resolve 1h\n");
        let proxy = Proxy::start(
            program,
            &format!(
                "{config}listen web\n    bind 127.0.0.1:{web}\n    \
                 http-request do-resolve(txn.ip,dns,ipv4) path,regsub(^.,)\n    \
                 http-request return status 200 content-type text/plain lf-string \"%[var(txn.ip)]\"\n"
            ),
        );
        assert_eq!(
            lab::get(web, "/app.test").body,
            "127.0.0.4",
            "{}",
            program.name
        );
        // The oracle forgets an answer with the request that it was asked for.
        if program.name == "mulgil" {
            dns.says("app.test", Says::Code(ResponseCode::NXDomain));
            let again = lab::get(web, "/app.test");
            assert_eq!(again.body, "127.0.0.4");
        }
        let counters = proxy.control("show resolvers dns");
        assert!(
            counters.starts_with("Resolvers section dns\n nameserver ns:\n  sent:        1\n"),
            "{counters}"
        );
        assert!(counters.contains("\n  valid:       1\n"), "{counters}");
        assert!(
            proxy
                .control("show resolvers x")
                .starts_with("Can't find that resolvers section")
        );
    });
}

#[test]
fn the_first_good_answer_of_several_name_servers_counts() {
    each(|program| {
        let (good, refusing, silent) = (
            NameServer::start(),
            NameServer::start(),
            NameServer::start(),
        );
        good.has("app.test", vec![ip("127.0.0.1")]);
        refusing.says("app.test", Says::Code(ResponseCode::Refused));
        silent.says("app.test", Says::Silence);
        let config = section(
            &refusing,
            &format!(
                "    nameserver quiet {}\n    nameserver good {}\n",
                silent.addr, good.addr
            ),
        );
        let proxy = Proxy::start(
            program,
            &format!(
                "{config}backend app\n    server s app.test:80 resolvers dns init-addr none\n"
            ),
        );
        proxy.wait_for("app", "s", "addr", "127.0.0.1:80");
    });
}

#[test]
fn name_servers_are_asked_over_tcp_where_that_is_said() {
    each(|program| {
        let dns = NameServer::start();
        let many: Vec<RData> = (1..=200).map(|n| ip(&format!("127.1.1.{n}"))).collect();
        dns.says("app.test", Says::Long(many));
        let at = dns.addr;
        let proxy = Proxy::start(
            program,
            &format!(
                "resolvers tcp\n    nameserver ns tcp@{at}\n    accepted_payload_size 8192\n    timeout resolve 200ms\n\
                 defaults\n    mode http\n    timeout client 5s\n    timeout server 5s\n    timeout connect 2s\n\
                 backend app\n    server-template s 3 app.test:80 resolvers tcp resolve-prefer ipv4 init-addr none\n"
            ),
        );
        for n in 1..=3 {
            proxy.wait_for("app", &format!("s{n}"), "addr", "127.1.1.");
        }
    });
}

/// The oracle has no use for an answer that does not fit.
#[test]
fn an_answer_too_long_for_a_datagram_comes_over_tcp() {
    let dns = NameServer::start();
    dns.says("app.test", Says::Long(vec![ip("127.0.0.7")]));
    let config = section(&dns, "");
    let proxy = Proxy::start(
        &Program::mulgil(),
        &format!("{config}backend app\n    server s app.test:80 resolvers dns init-addr none\n"),
    );
    proxy.wait_for("app", "s", "addr", "127.0.0.7:80");
}

#[test]
fn an_operator_gives_servers_other_names_and_addresses() {
    each(|program| {
        let dns = NameServer::start();
        dns.has("one.test", vec![ip("127.0.0.1")]);
        dns.has("two.test", vec![ip("127.0.0.2")]);
        let config = section(&dns, "");
        let proxy = Proxy::start(
            program,
            &format!(
                "{config}backend app\n    server s one.test:80 resolvers dns init-addr none\n    \
                 server t one.test:80 resolvers dns init-addr none\n    server fixed 127.0.0.1:80\n"
            ),
        );
        proxy.wait_for("app", "s", "addr", "127.0.0.1:80");
        for (command, wanted) in [
            (
                "fixed fqdn x.test",
                "set server <b>/<s> fqdn failed because no resolution is configured.",
            ),
            ("s fqdn", "set server <b>/<s> fqdn requires a FQDN."),
            (
                "s fqdn one.test",
                "no need to change the FDQN by 'stats socket command'",
            ),
            (
                "s fqdn two.test",
                "app/s changed its FQDN from one.test to two.test by 'stats socket command'",
            ),
        ] {
            let said = proxy.control(&format!("set server app/{command}"));
            assert_eq!(said.trim(), wanted, "{}", program.name);
        }
        proxy.wait_for("app", "s", "addr", "127.0.0.2:80");
        // The address that an operator gives it stays until its name has another than before.
        proxy.control("set server app/s addr 127.0.0.9 port 81");
        dns.has("one.test", vec![ip("127.0.0.4")]);
        proxy.wait_for("app", "t", "addr", "127.0.0.4:80");
        assert_eq!(
            proxy.stat("app", "s", "addr"),
            "127.0.0.9:81",
            "{}",
            program.name
        );
        dns.has("two.test", vec![ip("127.0.0.3")]);
        proxy.wait_for("app", "s", "addr", "127.0.0.3:81");
    });
}

#[test]
fn only_the_kinds_of_addresses_that_are_taken_come_from_names() {
    let dns = NameServer::start();
    dns.has("four.test", vec![ip("127.0.0.4")]);
    dns.has("both.test", vec![ip("127.0.0.4"), ip("::6")]);
    // Whether this machine has a way into the Internet of IPv6 is the kernel's to say.
    let way = UdpSocket::bind("[::]:0").and_then(|s| s.connect("[2001:db8::1]:9"));
    let auto = if way.is_ok() { "::6" } else { "127.0.0.4" };
    for (families, both, four) in [
        ("ipv4", "127.0.0.4", "127.0.0.4"),
        ("ipv6", "::6", ""),
        ("ipv4,ipv6", "::6", "127.0.0.4"),
        ("auto", auto, "127.0.0.4"),
    ] {
        let web = port();
        let config = section(&dns, "    hold valid 0s\n");
        let _proxy = Proxy::start(
            &Program::mulgil(),
            &format!(
                "    dns-accept-family {families}\n{config}listen web\n    bind 127.0.0.1:{web}\n    \
                 http-request do-resolve(txn.ip,dns,ipv6) path,regsub(^.,)\n    \
                 http-request return status 200 content-type text/plain lf-string \"%[var(txn.ip)]\"\n"
            ),
        );
        assert_eq!(lab::get(web, "/both.test").body, both, "{families}");
        assert_eq!(lab::get(web, "/four.test").body, four, "{families}");
    }
    let folder = lab::Folder::new();
    let file = folder.file(
        "test.cfg",
        b"global\n    dns-accept-family ipv5\nlisten l\n    bind :1\n",
    );
    let (status, said) = Program::mulgil().run(&["-c", "-f", &file]);
    assert_eq!(status, 1);
    assert!(said.contains("did you mean 'ipv"), "{said}");
}
