//! `mulgil demo`: three small web servers of different speeds, and the proxy before them.

use crate::args::Args;
use crate::run;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

/// How the demo is asked for.
struct Wish {
    bind: SocketAddr,
    load: bool,
}

fn wish(args: &[String]) -> Result<Wish, String> {
    let mut wish = Wish {
        bind: ([127, 0, 0, 1], 8080).into(),
        load: false,
    };
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        match arg.as_str() {
            "--load" => wish.load = true,
            "--bind" => {
                let text = rest
                    .next()
                    .ok_or("'--bind' wants an address, such as 127.0.0.1:9090")?;
                wish.bind = text.parse().map_err(|_| {
                    format!("'{text}' is no address and port, such as 127.0.0.1:9090")
                })?;
                if wish.bind.port() > u16::MAX - 324 {
                    return Err(format!(
                        "port {} leaves no room for the statistics page, 324 above it",
                        wish.bind.port()
                    ));
                }
            }
            other => {
                return Err(format!(
                    "unknown argument '{other}' of demo: use --bind ADDRESS or --load"
                ));
            }
        }
    }
    Ok(wish)
}

/// Runs the demo; returns the exit status.
pub fn main(args: &[String]) -> i32 {
    match wish(args).and_then(demo) {
        Ok(()) => 0,
        Err(message) => {
            eprintln!("error: {message}");
            1
        }
    }
}

fn demo(wish: Wish) -> Result<(), String> {
    // The statistics page stands 324 ports above: 8404 beside 8080.
    let mut stats = wish.bind;
    stats.set_port(wish.bind.port() + 324);
    let mut servers = String::new();
    for (name, delay) in [("fast", 2), ("medium", 20), ("slow", 80)] {
        let listener = TcpListener::bind("127.0.0.1:0")
            .map_err(|e| format!("cannot start a web server: {e}"))?;
        let address = listener.local_addr().map_err(|e| e.to_string())?;
        std::thread::spawn(move || web_server(listener, name, Duration::from_millis(delay)));
        servers.push_str(&format!("    server {name} {address} check inter 1s\n"));
    }
    let text = format!(
        "global\n    noreuseport\ndefaults\n    mode http\n    timeout client 30s\n    timeout server 30s\n    timeout connect 5s\n\
         frontend web\n    bind {bind}\n    option forwardfor\n    default_backend servers\n\
         backend servers\n    balance roundrobin\n    option httpchk GET /\n{servers}\
         listen statistics\n    bind {stats}\n    stats enable\n    stats uri /\n    stats refresh 2s\n",
        bind = wish.bind,
    );
    let file = std::env::temp_dir().join(format!("mulgil-demo-{}.cfg", std::process::id()));
    std::fs::write(&file, &text).map_err(|e| format!("cannot write '{}': {e}", file.display()))?;
    let path = file.to_string_lossy().into_owned();
    let args = Args {
        files: vec![path],
        foreground: true,
        ..Args::default()
    };
    let mut read = run::load(&args, &crate::world::Machine, None);
    let _ = std::fs::remove_file(&file);
    let Some(config) = read.config.take() else {
        return Err(read.said);
    };
    let prepared = run::prepare(&args, config, read)?;
    println!("Three web servers (fast, medium, slow) stand behind the proxy.\n");
    println!(
        "  open      http://{}/      each answer names its server in X-Server",
        wish.bind
    );
    println!("  watch     http://{stats}/      the statistics page");
    println!(
        "  try       curl -si http://{}/ | grep -i x-server",
        wish.bind
    );
    println!("\nThe configuration that is running:\n\n{text}");
    println!("Ctrl-C ends it.");
    if wish.load {
        let address = wish.bind;
        std::thread::spawn(move || load(address));
    }
    run::serve(&args, prepared, run::Behind::Nobody, "mulgil").map(|_| ())
}

/// Answers every request of every connection, after a pause.
fn web_server(listener: TcpListener, name: &'static str, delay: Duration) {
    for stream in listener.incoming().flatten() {
        std::thread::spawn(move || {
            // A connection that breaks concerns nobody but itself.
            let _ = web_connection(stream, name, delay);
        });
    }
}

fn web_connection(mut stream: TcpStream, name: &str, delay: Duration) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut received = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        while let Some(end) = received.windows(4).position(|w| w == b"\r\n\r\n") {
            received.drain(..end + 4);
            std::thread::sleep(delay);
            let body = format!("<h1>Hello from {name}</h1>\n");
            let length = body.len();
            write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {length}\r\nX-Server: {name}\r\n\r\n{body}"
            )?;
        }
        let n = stream.read(&mut chunk)?;
        if n == 0 || received.len() > 64 * 1024 {
            return Ok(());
        }
        received.extend_from_slice(&chunk[..n]);
    }
}

/// A gentle load: 600 requests, twenty a second, each on a connection of its own.
fn load(address: SocketAddr) {
    std::thread::sleep(Duration::from_millis(500));
    for _ in 0..600 {
        if let Ok(mut stream) = TcpStream::connect(address) {
            let _ = write!(
                stream,
                "GET / HTTP/1.1\r\nHost: demo\r\nConnection: close\r\n\r\n"
            );
            let mut answer = Vec::new();
            let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
            let _ = stream.read_to_end(&mut answer);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
