//! What the PROXY protocol says besides addresses: extensions that are read and written, and rules
//! that ask for a header.

use lab::{Client, Program, Proxy, each, port};
use std::io::Read;
use std::net::TcpListener;

const TIMES: &str =
    "defaults\n    timeout client 2s\n    timeout server 2s\n    timeout connect 1s\n";

/// A header of version 2 from 192.0.2.7:1234 to 198.51.100.8:443 with extensions.
fn header(extensions: &[(u8, &[u8])]) -> Vec<u8> {
    let mut content = vec![192, 0, 2, 7, 198, 51, 100, 8, 0x04, 0xd2, 0x01, 0xbb];
    for (kind, value) in extensions {
        content.push(*kind);
        content.extend_from_slice(&(value.len() as u16).to_be_bytes());
        content.extend_from_slice(value);
    }
    let mut bytes = b"\r\n\r\n\0\r\nQUIT\n\x21\x11".to_vec();
    bytes.extend_from_slice(&(content.len() as u16).to_be_bytes());
    bytes.extend_from_slice(&content);
    bytes
}

/// Reads one header: the command and family, and the extensions.
fn read(stream: &mut impl Read) -> (Vec<u8>, Vec<(u8, Vec<u8>)>) {
    let mut fixed = [0; 16];
    stream.read_exact(&mut fixed).expect("a header");
    assert_eq!(&fixed[..12], b"\r\n\r\n\0\r\nQUIT\n");
    let mut rest = vec![0; usize::from(u16::from_be_bytes([fixed[14], fixed[15]]))];
    stream.read_exact(&mut rest).expect("a header");
    let mut at = 12;
    let mut all = Vec::new();
    while at < rest.len() {
        let length = usize::from(u16::from_be_bytes([rest[at + 1], rest[at + 2]]));
        all.push((rest[at], rest[at + 3..at + 3 + length].to_vec()));
        at += 3 + length;
    }
    (fixed[12..14].to_vec(), all)
}

#[test]
fn extensions_of_a_header_can_be_asked_for() {
    each(|program| {
        let port = port();
        // fc_pp_tlv is younger than the oracle.
        let own = match program.name {
            "mulgil" => " tlv=%[fc_pp_tlv(0xE1)]/%[fc_pp_tlv(AUTHORITY)]/%[fc_pp_tlv(7)]",
            _ => "",
        };
        let _proxy = Proxy::start(
            program,
            &format!(
                "{TIMES}    mode http\nfrontend f\n    bind 127.0.0.1:{port} accept-proxy\n    http-request return status 200 content-type text/plain lf-string \"%[fc_rcvd_proxy] %[fc_pp_authority] %[fc_pp_unique_id]{own}\"\n"
            ),
        );
        let mut client = Client::connect(port);
        client.send(header(&[
            (0x02, b"www.example"),
            (0x05, b"id-7"),
            (0xe1, b"mine"),
        ]));
        let said = client.ask("GET / HTTP/1.1\r\nHost: x\r\n\r\n").body;
        let wanted = match program.name {
            "mulgil" => "1 www.example id-7 tlv=mine/www.example/",
            _ => "1 www.example id-7",
        };
        assert_eq!(said, wanted, "{}", program.name);
    });
}

#[test]
fn a_rule_asks_some_clients_for_a_header() {
    each(|program| {
        let port = port();
        let _proxy = Proxy::start(
            program,
            &format!(
                "{TIMES}    mode http\nfrontend f\n    bind 127.0.0.1:{port}\n    tcp-request connection expect-proxy layer4 if {{ src 127.0.0.9 }}\n    http-request return status 200 content-type text/plain lf-string \"%[src] %[fc_rcvd_proxy]\"\n"
            ),
        );
        let ask = |from: [u8; 4], first: &[u8]| {
            let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)
                .expect("a socket");
            socket
                .bind(&std::net::SocketAddr::from((from, 0)).into())
                .expect("an address of ours");
            let to = std::net::SocketAddr::from(([127, 0, 0, 1], port));
            socket.connect(&to.into()).expect("it listens");
            let mut client = Client::of(socket.into());
            client.send(first);
            client.ask("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        };
        let with = ask([127, 0, 0, 9], &header(&[]));
        assert_eq!(with.body, "192.0.2.7 1", "{}", program.name);
        assert_eq!(ask([127, 0, 0, 9], b"").status, 0, "{}", program.name);
        let without = ask([127, 0, 0, 1], b"");
        assert_eq!(without.body, "127.0.0.1 0", "{}", program.name);
        let uninvited = ask([127, 0, 0, 1], &header(&[]));
        assert_eq!(uninvited.status, 400, "{}", program.name);
    });
}

#[test]
fn a_server_is_told_what_its_line_says() {
    each(|program| {
        let origin = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = port();
        let _proxy = Proxy::start(
            program,
            &format!(
                "{TIMES}    mode tcp\nfrontend f\n    bind 127.0.0.1:{port}\n    unique-id-format id-%[src]\n    default_backend b\nbackend b\n    server s {} send-proxy-v2 proxy-v2-options ssl,cert-cn,ssl-cipher,authority,unique-id\n",
                origin.local_addr().expect("an address")
            ),
        );
        let _client = Client::connect(port);
        let (mut server, _) = origin.accept().expect("a connection");
        let (kind, mut all) = read(&mut server);
        assert_eq!(kind, [0x21, 0x11], "{}", program.name);
        all.sort();
        let id = (0x05, b"id-127.0.0.1".to_vec());
        println!("{}: {all:?}", program.name);
        assert!(all.contains(&id), "{}: {all:?}", program.name);
        let ssl = all.iter().find(|(kind, _)| *kind == 0x20);
        // Nothing is known of TLS where there is none: no flag is set.
        assert!(
            ssl.is_none_or(|(_, v)| v[0] == 0),
            "{}: {all:?}",
            program.name
        );
    });
}

#[test]
fn extensions_are_made_by_formats() {
    let origin = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = port();
    let _proxy = Proxy::start(
        &Program::mulgil(),
        &format!(
            "{TIMES}    mode http\nlisten l\n    bind 127.0.0.1:{port}\n    server s {} send-proxy-v2 set-proxy-v2-tlv-fmt(0xE0) %[req.hdr(host)] set-proxy-v2-tlv-fmt(225) %[src]\n",
            origin.local_addr().expect("an address")
        ),
    );
    let mut client = Client::connect(port);
    client.send("GET / HTTP/1.1\r\nHost: www.example\r\n\r\n");
    let (mut server, _) = origin.accept().expect("a connection");
    let (_, all) = read(&mut server);
    assert_eq!(
        all,
        [
            (0xe0, b"www.example".to_vec()),
            (0xe1, b"127.0.0.1".to_vec())
        ]
    );
}

#[test]
fn what_is_wrong_with_a_line_is_said() {
    let folder = lab::Folder::new();
    for (words, wanted) in [
        (
            "send-proxy-v2 proxy-v2-options cert-key",
            "does not have yet",
        ),
        (
            "send-proxy-v2 proxy-v2-options crc",
            "use crc32c, authority",
        ),
        ("set-proxy-v2-tlv-fmt(300) x", "a type from 0 to 255"),
        ("source 0.0.0.0 usesrc", "'usesrc' wants client"),
        ("source 0.0.0.0 usesrc hdr_ip(x,one)", "is no hdr_ip"),
    ] {
        let text = format!("{TIMES}    mode http\nbackend b\n    server s 127.0.0.1:1 {words}\n");
        let file = folder.file("a.cfg", text.as_bytes());
        let (status, said) = Program::mulgil().run(&["-c", "-f", &file]);
        assert!(status != 0 && said.contains(wanted), "{words}: {said}");
    }
}
