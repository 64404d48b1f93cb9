//! The client's address at the server: `usesrc` and `bind … transparent`, in networks of the test's
//! own, with the routing rules that `mulgil doctor` prints.

use lab::{Folder, PATIENCE, Program};
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Three networks in a row: clients, the proxy, servers. Removed at the end, with all in them.
struct Networks {
    names: [String; 3],
}

fn ip(words: &str) {
    let done = Command::new("ip")
        .args(words.split_whitespace())
        .output()
        .expect("ip runs");
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success(), "ip {words}: {said}");
}

impl Networks {
    /// `None` without the right to make them.
    fn new() -> Option<Networks> {
        let me = std::process::id();
        let names = ["client", "proxy", "server"].map(|n| format!("lab-tr-{n}-{me}"));
        let first = Command::new("ip")
            .args(["netns", "add", &names[0]])
            .stderr(Stdio::null())
            .status();
        if !first.is_ok_and(|s| s.success()) {
            return None;
        }
        let networks = Networks { names };
        let [c, p, s] = &networks.names;
        ip(&format!("netns add {p}"));
        ip(&format!("netns add {s}"));
        ip(&format!(
            "-n {c} link add c0 type veth peer name p0 netns {p}"
        ));
        ip(&format!(
            "-n {s} link add s0 type veth peer name p1 netns {p}"
        ));
        for (network, link, address) in [
            (c, "c0", "10.9.1.2/24"),
            (p, "p0", "10.9.1.1/24"),
            (p, "p1", "10.9.2.1/24"),
            (s, "s0", "10.9.2.2/24"),
        ] {
            ip(&format!("-n {network} addr add {address} dev {link}"));
            ip(&format!("-n {network} link set {link} up"));
            ip(&format!("-n {network} link set lo up"));
        }
        ip(&format!("-n {c} route add default via 10.9.1.1"));
        ip(&format!("-n {s} route add default via 10.9.2.1"));
        Some(networks)
    }

    fn command(&self, which: usize, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.names[which], program]);
        command
    }
}

impl Drop for Networks {
    fn drop(&mut self) {
        for name in &self.names {
            let _ = Command::new("ip").args(["netns", "del", name]).status();
        }
    }
}

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A server that says who came and closes, and a client that says what it was told.
const SERVER: &str = "import socket\n\
s=socket.socket(); s.setsockopt(socket.SOL_SOCKET,socket.SO_REUSEADDR,1)\n\
s.bind(('10.9.2.2',8000)); s.listen(8)\n\
print('ready',flush=True)\n\
while True:\n c,a=s.accept(); c.sendall(('%s:%d'%a).encode()); c.close()\n";
/// The same by answers of HTTP and by datagrams.
const OTHERS: &str = "import socket,threading\n\
s=socket.socket(); s.setsockopt(socket.SOL_SOCKET,socket.SO_REUSEADDR,1)\n\
s.bind(('10.9.2.2',8080)); s.listen(8)\n\
u=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); u.bind(('10.9.2.2',5353))\n\
def datagrams():\n while True:\n  d,a=u.recvfrom(100); u.sendto(('%s:%d'%a).encode(),a)\n\
threading.Thread(target=datagrams,daemon=True).start()\n\
print('ready',flush=True)\n\
while True:\n c,a=s.accept(); c.recv(9999); c.sendall(b'HTTP/1.0 200 OK\\r\\n\\r\\n'+('%s:%d'%a).encode()); c.close()\n";
/// Asks by a datagram, until there is an answer.
const ASKS: &str = "import socket,sys\n\
s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); s.settimeout(1)\n\
for n in range(8):\n s.sendto(b'who',(sys.argv[1],int(sys.argv[2])))\n try:\n  print(s.recv(100).decode()); break\n except TimeoutError: pass\n";
const CLIENT: &str = "import socket,sys\n\
s=socket.create_connection((sys.argv[1],int(sys.argv[2])),3,('10.9.1.2',int(sys.argv[3]))); s.settimeout(3)\n\
out=b''\n\
while True:\n d=s.recv(100)\n if not d: break\n out+=d\n\
print(out.decode())\n";

fn python_is_there() -> bool {
    let run = Command::new("python3").arg("--version").output();
    run.is_ok_and(|o| o.status.success())
}

#[test]
fn a_server_sees_its_clients_address_with_the_rules_that_the_doctor_prints() {
    let Some(networks) = Networks::new().filter(|_| python_is_there()) else {
        println!("no namespaces or no python3 here: not tried");
        return;
    };
    let folder = Folder::new();
    let file = folder.file(
        "a.cfg",
        b"defaults\n    mode tcp\n    timeout client 3s\n    timeout server 3s\n    timeout connect 2s\n\
          listen ours\n    bind *:8001\n    source 0.0.0.0 usesrc clientip\n    server s 10.9.2.2:8000\n\
          listen exact\n    bind *:8002\n    server s 10.9.2.2:8000 source 0.0.0.0 usesrc client\n\
          listen plain\n    bind *:8003\n    server s 10.9.2.2:8000\n\
          listen through\n    bind *:8000 transparent\n    server s 10.9.2.2:8000 source 0.0.0.0 usesrc clientip\n\
          listen named\n    mode http\n    bind *:8004\n    source 0.0.0.0 usesrc hdr_ip(x-forwarded-for,-1)\n    server s 10.9.2.2:8080\n\
          listen given\n    mode http\n    bind *:8005\n    server s 10.9.2.2:8080 source 0.0.0.0 usesrc 10.9.1.99\n\
          listen names\n    mode udp\n    bind *:8006\n    server s 10.9.2.2:5353 source 0.0.0.0 usesrc clientip\n"
            .as_slice(),
    );
    let mulgil = Program::mulgil();
    let (status, rules) = mulgil.run(&["doctor", "-f", &file]);
    assert_eq!(status, 0, "{rules}");
    assert!(
        rules.contains("socket transparent 1") && rules.contains("tproxy ip to :8000"),
        "{rules}"
    );
    let applied = networks
        .command(1, "sh")
        .args(["-ec", &rules])
        .output()
        .expect("sh runs");
    assert!(
        applied.status.success(),
        "{rules}{}",
        String::from_utf8_lossy(&applied.stderr)
    );
    let _servers = [SERVER, OTHERS].map(|script| {
        let mut server = Running(
            networks
                .command(2, "python3")
                .args(["-c", script])
                .stdout(Stdio::piped())
                .spawn()
                .expect("it starts"),
        );
        let out = server.0.stdout.as_mut().expect("piped");
        out.read_exact(&mut [0; 5]).expect("it listens");
        server
    });
    let path = mulgil
        .command()
        .get_program()
        .to_string_lossy()
        .into_owned();
    let _proxy = Running(
        networks
            .command(1, &path)
            .args(["-f", &file, "-db"])
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts"),
    );
    let ask = |to: &str, port: &str, from: &str| {
        let out = networks
            .command(0, "python3")
            .args(["-c", CLIENT, to, port, from])
            .output()
            .expect("it runs");
        String::from_utf8_lossy(&out.stdout).trim().to_string()
    };
    let end = Instant::now() + PATIENCE;
    while ask("10.9.1.1", "8003", "0").is_empty() {
        assert!(Instant::now() < end, "the proxy does not answer");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(ask("10.9.1.1", "8003", "0").starts_with("10.9.2.1:"));
    assert!(ask("10.9.1.1", "8001", "0").starts_with("10.9.1.2:"));
    assert_eq!(ask("10.9.1.1", "8002", "45678"), "10.9.1.2:45678");
    // To the server's own address: the proxy stands in between and neither end knows.
    let seen = ask("10.9.2.2", "8000", "45679");
    assert!(
        seen.starts_with("10.9.1.2:") && seen != "10.9.1.2:45679",
        "{seen}"
    );
    // The address that a field names, the last one of several; ours where there is none.
    let request = |port: u16, field: &str| {
        let url = format!("http://10.9.1.1:{port}/");
        let out = networks
            .command(0, "curl")
            .args(["-s", "-m", "8", "-H", field, &url])
            .output()
            .expect("curl runs");
        let said = String::from_utf8_lossy(&out.stdout).into_owned();
        said.split(':').next().unwrap_or_default().to_string()
    };
    let field = "X-Forwarded-For: 192.0.2.1, 10.9.1.77";
    assert_eq!(request(8004, field), "10.9.1.77");
    assert_eq!(request(8004, "X-Forwarded-For: 10.9.1.78"), "10.9.1.78");
    assert_eq!(request(8004, "X-Other: 10.9.1.78"), "10.9.2.1");
    assert_eq!(request(8005, field), "10.9.1.99");
    let out = networks
        .command(0, "python3")
        .args(["-c", ASKS, "10.9.1.1", "8006"])
        .output()
        .expect("it runs");
    let seen = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(seen.starts_with("10.9.1.2:"), "{seen}");
}
