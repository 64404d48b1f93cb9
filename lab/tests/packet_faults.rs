//! What goes wrong around packets: the process is killed at any moment of its life, servers flap, configurations
//! and commands come in storms, what stands in the folder of tables is not ours. Conversations that need not break
//! stay whole, and nothing is left in the end.

#[path = "packet/balancer.rs"]
mod balancer;
#[path = "packet/ends.rs"]
mod ends;
#[path = "packet/net.rs"]
mod net;
#[path = "packet/nets.rs"]
mod nets;

use balancer::{Balancer, detach};
use ends::{Numbers, serve_numbers, talk};
use lab::net::PATIENCE;
use lab::{Folder, Program};
use net::{Net, cookie, possible, wait_until};
use nets::{at, two_arms_of};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::PathBuf;
use std::process::Child;
use std::time::Duration;

/// What mulgil keeps for a host beyond its own life.
fn kept(net: &Net, host: &str) -> Vec<PathBuf> {
    let number = format!("{}-", net.within(host, cookie).expect("a number"));
    let entries = ["/run/mulgil/bpf", "/run/mulgil/lists"].map(std::fs::read_dir);
    let entries = entries.into_iter().flatten().flatten().flatten();
    let own = entries.filter(|e| e.file_name().to_string_lossy().starts_with(&number));
    own.map(|e| e.path()).collect()
}

/// Everything that was attached is taken out, and nothing is left in the kernel or in files.
fn nothing_is_left(net: &Net, host: &str) {
    assert!(detach(net, host).contains("removed"));
    assert!(detach(net, host).contains("nothing was attached"));
    assert_eq!(kept(net, host), Vec::<PathBuf>::new());
    // The kernel lets go of a link a little later.
    wait_until("no program is left", || {
        !net.exec(host, "ip -d link show").contains("prog/xdp")
    });
}

/// Starts mulgil on a host and kills it after so long, wherever it is then.
fn killed_after(net: &Net, host: &str, config: &str, after: Duration) {
    let mut begun = begin(net, host, config);
    std::thread::sleep(after);
    assert!(!begun.is_over(), "it ended by itself: {}", begun.said());
}

/// A process that nobody waits for; killed at its end.
struct Begun {
    child: Child,
    folder: Folder,
}

impl Begun {
    fn is_over(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|over| over.is_some())
    }

    fn said(&self) -> String {
        std::fs::read_to_string(self.folder.path("output")).unwrap_or_default()
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts mulgil.
fn begin(net: &Net, host: &str, config: &str) -> Begun {
    let folder = Folder::new();
    let text = format!("global\n    nbthread 1\n    tune.packet.flows 10000\n{config}");
    let file = folder.file("test.cfg", text.as_bytes());
    let output = File::create(folder.path("output")).expect("a file");
    let program = Program::mulgil();
    let path = program
        .command()
        .get_program()
        .to_string_lossy()
        .into_owned();
    let child = net.spawn(host, &path, &["-f", &file, "-db"], output);
    Begun { child, folder }
}

/// Conversations with `vips` go on while one process after another is killed as it starts.
fn outlives_them(net: &Net, config: &str, vips: &[&'static str]) {
    let balancer = Balancer::start(net, "l", config);
    let reached =
        |vip: &'static str| net.within("c", move || talk(at(&format!("{vip}:80")), 20_000));
    for vip in vips.iter().copied() {
        wait_until("it serves", || reached(vip).is_ok());
    }
    let mut open: Vec<Numbers> = vips
        .iter()
        .copied()
        .map(|vip| net.within("c", move || Numbers::of(at(&format!("{vip}:7000")))))
        .collect::<Result<_, _>>()
        .expect("connected");
    balancer.kill();
    for after in [0, 30, 100, 250] {
        killed_after(net, "l", config, Duration::from_millis(after));
        for (numbers, vip) in open.iter_mut().zip(vips.iter().copied()) {
            let heard = numbers.go_on(20);
            heard.unwrap_or_else(|e| panic!("{vip}, killed after {after} ms: {e}"));
            let heard = reached(vip);
            heard.unwrap_or_else(|e| panic!("{vip}, killed after {after} ms: a new one: {e}"));
        }
    }
    let balancer = Balancer::start(net, "l", config);
    for numbers in &mut open {
        numbers.go_on(20).expect("it goes on with the next one");
    }
    drop(balancer);
    nothing_is_left(net, "l");
}

const TWO_ARMS: &str = "
listen web
    mode packet
    bind 198.51.100.80:80
    forward nat
    server one 10.0.0.11:8080
    server two 10.0.0.12:8080
listen numbers
    mode packet
    bind 198.51.100.80:7000
    forward nat
    server one 10.0.0.11:7000
    server two 10.0.0.12:7000
listen pooled
    mode packet
    bind 198.51.100.81:80
    forward nat source 10.0.0.200-10.0.0.201
    server one 10.0.0.11:8080
    server two 10.0.0.12:8080
listen pooled-numbers
    mode packet
    bind 198.51.100.81:7000
    forward nat source 10.0.0.202-10.0.0.203
    server one 10.0.0.11:7000
    server two 10.0.0.12:7000
";

fn two_arms(cable: nets::Cable) -> Net {
    let net = two_arms_of(cable);
    for (host, address) in [("s1", "10.0.0.11:7000"), ("s2", "10.0.0.12:7000")] {
        net.within(host, move || serve_numbers(at(address)));
    }
    net
}

#[test]
fn killed_at_any_moment_of_its_start_it_breaks_nothing_and_leaves_nothing() {
    if !possible() {
        return;
    }
    for (attach, cable) in [
        ("xdp", Net::cable as nets::Cable),
        ("clsact", Net::loose_cable),
    ] {
        let net = two_arms(cable);
        let config = format!("global\n    tune.packet.attach {attach}\n{TWO_ARMS}");
        outlives_them(&net, &config, &["198.51.100.80", "198.51.100.81"]);
    }
}

#[test]
fn what_is_kept_but_not_ours_is_refused_and_cleared_away() {
    if !possible() {
        return;
    }
    let net = two_arms(Net::cable);
    Balancer::start(&net, "l", TWO_ARMS).kill();
    let kept = kept(&net, "l");
    let Some(folder) = kept.iter().find(|p| p.starts_with("/run/mulgil/bpf")) else {
        println!("the folder of tables is in nobody's sight: not tried");
        detach(&net, "l");
        return;
    };
    // Kernels would take some of these for ours.
    for (table, foreign) in [("vips", "macs"), ("tables", "live")] {
        std::fs::rename(folder.join(foreign), folder.join(table)).expect("another name");
        let mut begun = begin(&net, "l", TWO_ARMS);
        wait_until("it ends", || begun.is_over());
        let said = begun.said();
        let wanted =
            format!("as the table '{table}' is none of this program's: 'mulgil packet detach'");
        assert!(said.contains(&wanted) && said.lines().count() < 5, "{said}");
        let goes_on = net.within("c", || talk(at("198.51.100.80:80"), 1000));
        goes_on.expect("what stands there goes on");
        std::fs::create_dir(folder.join("strange")).expect("a folder");
        nothing_is_left(&net, "l");
        let balancer = Balancer::start(&net, "l", TWO_ARMS);
        wait_until("it serves again", || {
            net.within("c", || talk(at("198.51.100.80:80"), 1000))
                .is_ok()
        });
        balancer.kill();
    }
    nothing_is_left(&net, "l");
}

#[test]
fn sessions_of_the_others_stay_while_a_server_comes_and_goes() {
    if !possible() {
        return;
    }
    let net = two_arms(Net::cable);
    let balancer = Balancer::start(&net, "l", TWO_ARMS);
    let vip = "198.51.100.80:80";
    wait_until("it serves", || {
        net.within("c", move || talk(at(vip), 1)).is_ok()
    });
    let connect = move |count| {
        let one = move || TcpStream::connect_timeout(&at(vip), PATIENCE).expect("connects");
        (0..count).map(|_| one()).collect::<Vec<_>>()
    };
    let mut open = net.within("c", move || connect(200));
    let set = |state: &str| {
        let command = format!("set server web/one state {state}");
        balancer.control(&command).expect("answers");
    };
    // Who is drained keeps what it has.
    for _ in 0..10 {
        set("drain");
        set("ready");
    }
    open.iter_mut()
        .for_each(|s| s.write_all(b"x").expect("room"));
    for _ in 0..10 {
        set("maint");
        // The tables follow in a moment; from then on nobody new goes there.
        wait_until("new ones go to the other", || {
            let new = net.within("c", move || connect(5));
            let names = new.into_iter().map(|s| end(s).map(|(name, _)| name));
            names
                .filter(|n| n.as_ref().is_ok_and(|n| n == "two"))
                .count()
                == 5
        });
        set("ready");
    }
    let ends: Vec<_> = open.into_iter().map(end).collect();
    let of = |name: &str| ends.iter().flatten().filter(|(n, _)| n == name).count();
    assert_eq!(of("two"), 100, "{ends:?}");
    assert!(
        ends.iter().flatten().all(|(_, bytes)| *bytes == 1),
        "{ends:?}"
    );
    drop(balancer);
    nothing_is_left(&net, "l");
}

/// Ends a client's side: which server says how many bytes came.
fn end(mut stream: TcpStream) -> std::io::Result<(String, usize)> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.shutdown(Shutdown::Write)?;
    let mut text = Vec::new();
    stream.read_to_end(&mut text)?;
    let line = String::from_utf8_lossy(&text).into_owned();
    let mut words = line.split(' ');
    let name = words.next().unwrap_or_default().to_string();
    let bytes = words.nth(1).and_then(|n| n.parse().ok());
    Ok((name, bytes.unwrap_or(usize::MAX)))
}

#[test]
fn storms_of_configurations_and_commands_break_no_session() {
    if !possible() {
        return;
    }
    let net = two_arms(Net::loose_cable);
    let config = format!("global\n    tune.packet.attach clsact\n{TWO_ARMS}");
    let balancer = Balancer::start(&net, "l", &config);
    let other = config.replace("listen web", "listen www").replace(
        "    forward nat\n    server one 10.0.0.11:8080",
        "    forward nat\n    guard tcp-flags\n    balance source\n    server one 10.0.0.11:8080",
    );
    assert_ne!(config, other);
    wait_until("it serves", || {
        net.within("c", || talk(at("198.51.100.80:80"), 1)).is_ok()
    });
    let open = |vip: &'static str| net.within("c", move || Numbers::of(at(vip)));
    let mut open =
        ["198.51.100.80:7000", "198.51.100.81:7000"].map(|vip| open(vip).expect("connected"));
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                for command in ["show flows", "show stat", "show packets", "show info"].repeat(5) {
                    wait_until("each command is answered", || {
                        balancer.control(command).is_some_and(|t| !t.is_empty())
                    });
                }
            });
        }
        for _ in 0..8 {
            for text in [&other, &config] {
                std::fs::write(balancer.file(), text_for(&balancer, text)).expect("a file");
                balancer.signal("-HUP");
            }
            open.iter_mut()
                .for_each(|n| n.go_on(10).expect("it goes on"));
        }
    });
    balancer.reload(&other);
    open.iter_mut()
        .for_each(|n| n.go_on(50).expect("it goes on"));
    wait_until("the last configuration counts", || {
        let stat = balancer.control("show stat").unwrap_or_default();
        stat.contains("\nwww,FRONTEND,") && !stat.contains("\nweb,FRONTEND,")
    });
    net.within("c", || talk(at("198.51.100.80:80"), 20_000))
        .expect("it serves");
    drop(open);
    drop(balancer);
    nothing_is_left(&net, "l");
}

/// A configuration with the balancer's own socket.
fn text_for(balancer: &Balancer, config: &str) -> String {
    format!(
        "global\n    nbthread 1\n    tune.packet.flows 10000\n    stats socket {} level admin\n{config}",
        balancer.socket()
    )
}
