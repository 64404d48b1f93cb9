//! `mulgil explain`: which rules a request would meet, and why. The rules are run by the very
//! evaluator that serves, with somebody watching; no server is asked and nothing listens.

use crate::args::Args;
use crate::run;
use crate::world::{self, Machine, wall_now};
use http::{Head, Version};
use model::{Config, Mode, Proxy, SwitchRule, SwitchTarget};
use rules::action::Effects;
use rules::{Ctx, Ends, Listener, Rule, SessionInfo, StreamInfo, Tracer, Vars, Verdict};
use state::stick::Tracked;
use state::{Generation, Process};
use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

/// How it is used.
const USAGE: &str = "\
usage: mulgil explain -f FILE [-X METHOD] [-H 'Name: value']… [--from ADDRESS[:PORT]]
                      [--frontend NAME] PATH | http://HOST/PATH
       prints every rule that the request would meet, whether it applies, and what its ACLs said
";

/// What is asked.
struct Question {
    files: Vec<String>,
    method: String,
    fields: Vec<(String, String)>,
    from: SocketAddr,
    frontend: Option<String>,
    target: String,
}

/// Runs it; the exit status is 1 when the question cannot be answered.
pub fn main(args: &[String]) -> i32 {
    let explained = question(args).and_then(|question| {
        let args = Args {
            files: question.files.clone(),
            quiet: true,
            ..Args::default()
        };
        let mut read = run::load(&args, &Machine, None);
        match read.config.take() {
            Some(config) => explain(&question, Arc::new(config)),
            None => Err("the configuration cannot be used".into()),
        }
    });
    match explained {
        Ok(text) => {
            print!("{text}");
            0
        }
        Err(message) => {
            eprintln!("error: {message}");
            1
        }
    }
}

fn question(args: &[String]) -> Result<Question, String> {
    let mut question = Question {
        files: Vec::new(),
        method: "GET".into(),
        fields: Vec::new(),
        from: SocketAddr::from(([127, 0, 0, 1], 50_000)),
        frontend: None,
        target: String::new(),
    };
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        let mut value = || {
            let value = rest.next().cloned();
            value.ok_or_else(|| format!("'{arg}' wants a value after it\n{USAGE}"))
        };
        match arg.as_str() {
            "-f" => question.files.push(value()?),
            "-X" => question.method = value()?,
            "-H" => {
                let field = value()?;
                let (name, content) = field
                    .split_once(':')
                    .ok_or_else(|| format!("'{field}' is no 'Name: value'"))?;
                let pair = (name.trim().to_string(), content.trim().to_string());
                question.fields.push(pair);
            }
            "--from" => {
                let text = value()?;
                let address = text.parse().ok();
                let alone = || text.parse().ok().map(|ip| SocketAddr::new(ip, 50_000));
                question.from = address
                    .or_else(alone)
                    .ok_or_else(|| format!("'{text}' is no address"))?;
            }
            "--frontend" => question.frontend = Some(value()?),
            flag if flag.starts_with('-') => {
                return Err(format!("unknown argument '{flag}'\n{USAGE}"));
            }
            target => question.target = target.to_string(),
        }
    }
    if question.target.is_empty() || question.files.is_empty() {
        return Err(format!("a file and a path are wanted\n{USAGE}"));
    }
    Ok(question)
}

/// A rule by its place, whether it applied, and the ACLs that were asked for it.
type Step = (usize, bool, Vec<(String, bool)>);

/// Writes down what is evaluated.
#[derive(Default)]
struct Watch {
    acls: Vec<(String, bool)>,
    steps: Vec<Step>,
}

impl Tracer for Watch {
    fn acl(&mut self, name: &str, result: bool) {
        self.acls.push((name.to_string(), result));
    }

    fn rule(&mut self, index: usize, matched: bool) {
        let acls = std::mem::take(&mut self.acls);
        self.steps.push((index, matched, acls));
    }
}

fn acl_lines(acls: &[(String, bool)], out: &mut String) {
    for (name, held) in acls {
        let name = if name.is_empty() { "(anonymous)" } else { name };
        out.push_str(&format!(
            "          {name}: {}\n",
            if *held { "yes" } else { "no" }
        ));
    }
}

fn mark(matched: bool) -> char {
    if matched { '>' } else { '-' }
}

/// A request on its imagined way.
struct Walk<'a> {
    process: &'a Arc<Process>,
    generation: &'a Generation,
    session: SessionInfo,
    stream: StreamInfo,
    request: Head,
    vars: RefCell<Vars>,
    tracked: Tracked,
    rng: Cell<u64>,
    now: Instant,
    out: String,
}

/// Whether the way goes on.
#[derive(PartialEq, Eq)]
enum Way {
    GoesOn,
    Ends,
}

impl Walk<'_> {
    /// Calls `f` with what rules see.
    fn with<T>(&mut self, f: impl FnOnce(&mut Ctx<'_>) -> T) -> T {
        let view = state::View {
            process: self.process,
            generation: self.generation,
            now: self.now,
            tracked: Some(&self.tracked),
        };
        f(&mut Ctx {
            req: Some(&mut self.request),
            ..Ctx::bare(
                &self.session,
                &self.stream,
                wall_now(),
                &self.vars,
                &view,
                &self.rng,
            )
        })
    }

    /// Runs a set of rules and writes down what became of each.
    fn rules(&mut self, title: &str, rules: &[Rule]) -> Way {
        if rules.is_empty() {
            return Way::GoesOn;
        }
        self.out.push_str(&format!("\n  {title}\n"));
        let mut from = 0;
        loop {
            let mut watch = Watch::default();
            let mut effects = Effects::default();
            let verdict = self.with(|cx| rules::run(rules, from, cx, &mut effects, &mut watch));
            for (index, matched, acls) in &watch.steps {
                let line = rules.get(*index).map_or("", |r| &r.line);
                self.out
                    .push_str(&format!("    {} {line}\n", mark(*matched)));
                acl_lines(acls, &mut self.out);
            }
            let answered = match verdict {
                Verdict::Continue => return Way::GoesOn,
                // The second is of rules for what a server says, which nobody said here.
                Verdict::Allow | Verdict::CloseServer | Verdict::SwitchMode => {
                    self.out.push_str("      no further rules of this set\n");
                    return Way::GoesOn;
                }
                Verdict::WaitForBody { resume, .. } | Verdict::Pause { resume, .. } => {
                    self.out.push_str("      waits for the body, and goes on\n");
                    from = resume;
                    continue;
                }
                Verdict::Resolve { name, resume, .. } => {
                    let line = format!("      asks name servers for '{name}', and goes on\n");
                    self.out.push_str(&line);
                    from = resume;
                    continue;
                }
                Verdict::Deny(reply) => format!("refused with {}", reply.status),
                Verdict::Tarpit(reply) => format!("held, then refused with {}", reply.status),
                Verdict::Return(reply) => format!("answered with {}", reply.status),
                Verdict::Redirect(redirect) => {
                    let location = self.with(|cx| redirect.location(cx));
                    format!(
                        "redirected with {} to {}",
                        redirect.status,
                        String::from_utf8_lossy(&location)
                    )
                }
                Verdict::Reject => "closed without a word".into(),
                Verdict::Service(service) => format!("answered by {}", service.name()),
            };
            self.out.push_str(&format!("\nthe request is {answered}\n"));
            return Way::Ends;
        }
    }

    /// The name that the first switch which applies gives, but for those that are passed over.
    fn switch(
        &mut self,
        title: &str,
        switches: &[SwitchRule],
        unpublished: &[Arc<str>],
    ) -> Option<String> {
        if !switches.is_empty() {
            self.out.push_str(&format!("\n  {title}\n"));
        }
        for switch in switches {
            let mut watch = Watch::default();
            let matched = match &switch.condition {
                Some(condition) => self.with(|cx| condition.eval(cx, &mut watch)),
                None => true,
            };
            self.out
                .push_str(&format!("    {} {}\n", mark(matched), switch.line));
            acl_lines(&watch.acls, &mut self.out);
            if matched {
                let name = match &switch.target {
                    SwitchTarget::Name(name) => name.to_string(),
                    SwitchTarget::Format(format) => {
                        let mut name = Vec::new();
                        self.with(|cx| format.render(cx, &mut name));
                        String::from_utf8_lossy(&name).into_owned()
                    }
                };
                if !unpublished.iter().any(|u| **u == *name) {
                    return Some(name);
                }
                self.out
                    .push_str(&format!("      '{name}' is not published: passed over\n"));
            }
        }
        None
    }

    /// Backends that no rule leads to as the file has them, unless one of these holds.
    fn unpublished(&mut self, force: &[rules::Cond]) -> Vec<Arc<str>> {
        if self.with(|cx| force.iter().any(|c| c.eval(cx, &mut rules::NoTrace))) {
            return Vec::new();
        }
        let backends = self.generation.backends.iter();
        let hidden = backends.filter(|b| !b.is_published());
        hidden.map(|b| Arc::clone(&b.name)).collect()
    }

    fn content(&mut self, proxy: &Proxy) -> Way {
        let name = &proxy.name;
        let tcp = format!("tcp-request content rules of '{name}'");
        if self.rules(&tcp, &proxy.tcp_request_content) == Way::Ends {
            return Way::Ends;
        }
        if proxy.mode != Mode::Http {
            return Way::GoesOn;
        }
        self.rules(
            &format!("http-request rules of '{name}'"),
            &proxy.http_request,
        )
    }
}

/// The request that is meant.
fn request(question: &Question) -> Result<Head, String> {
    let rest = question.target.split_once("://").map(|(_, rest)| rest);
    let (host, target) = match rest {
        Some(rest) => match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        },
        None => ("", question.target.as_str()),
    };
    let mut head = Head::default();
    head.start_request(
        question.method.as_bytes(),
        target.as_bytes(),
        Version::Http11,
    );
    if !host.is_empty() {
        head.append(b"Host", host.as_bytes());
    }
    for (name, value) in &question.fields {
        head.append(name.as_bytes(), value.as_bytes());
    }
    // Read as a client's bytes would be, so that nothing passes here that would not pass there.
    let mut bytes = Vec::new();
    head.write_to(&mut bytes);
    let mut read = Head::default();
    match http::h1::parse_request(&bytes, &http::h1::ParseOptions::default(), &mut read) {
        Ok(Some(_)) => Ok(read),
        Ok(None) => Err("the request is not whole".into()),
        Err(e) => Err(format!("the request could not be read: {e}")),
    }
}

fn explain(question: &Question, config: Arc<Config>) -> Result<String, String> {
    let named = |p: &&Arc<Proxy>| match &question.frontend {
        Some(name) => *p.name == **name,
        None => p.mode == Mode::Http,
    };
    let fronts = config.proxies.iter().filter(|p| p.frontend.is_some());
    let proxy = Arc::clone(fronts.filter(|p| !p.disabled).find(named).ok_or_else(|| {
        match &question.frontend {
            Some(name) => format!("there is no frontend '{name}'"),
            None => "there is no frontend in 'mode http': name one with --frontend".into(),
        }
    })?);
    let now = Instant::now();
    let process = Process::new(
        Arc::clone(&config),
        1,
        1,
        1,
        wall_now(),
        now,
        world::facts(std::env::vars().collect()),
    );
    run::set_variables(&process, &config, wall_now());
    let generation = process.generation.load_full();
    let mut walk = Walk {
        process: &process,
        generation: &generation,
        session: SessionInfo {
            ends: Ends::new(Some(question.from), None),
            listener: Arc::new(Listener {
                frontend: Arc::clone(&proxy.name),
                frontend_id: proxy.id,
                ..Listener::default()
            }),
            accepted: wall_now(),
            ..SessionInfo::default()
        },
        stream: StreamInfo::default(),
        request: request(question)?,
        vars: RefCell::new(Vars::limited(generation.config.global.tuning.vars)),
        tracked: Tracked::default(),
        rng: Cell::new(1),
        now,
        out: String::new(),
    };
    let head = String::from_utf8_lossy(walk.request.start_line()).into_owned();
    walk.out = format!(
        "{head} from {} to frontend '{}'\n",
        question.from, proxy.name
    );
    walk.way(&proxy);
    Ok(walk.out)
}

impl Walk<'_> {
    /// From the frontend to the server.
    fn way(&mut self, proxy: &Proxy) {
        let Some(side) = proxy.frontend.as_deref() else {
            return;
        };
        for (what, rules) in [
            ("connection", &side.tcp_request_connection),
            ("session", &side.tcp_request_session),
        ] {
            let title = format!("tcp-request {what} rules of '{}'", proxy.name);
            if self.rules(&title, rules) == Way::Ends {
                return;
            }
        }
        if let Some(uri) = &side.monitor_uri
            && self.request.target() == uri.as_bytes()
        {
            self.out
                .push_str("\nthe request is answered here: it is for 'monitor-uri'\n");
            return;
        }
        if self.content(proxy) == Way::Ends {
            return;
        }
        if let Some(page) = &proxy.stats
            && self.request.target().starts_with(page.uri.as_bytes())
        {
            self.out
                .push_str("\nthe request is answered with the statistics page\n");
            return;
        }
        let title = format!("use_backend rules of '{}'", proxy.name);
        let unpublished = self.unpublished(&side.force_switch);
        let chosen = self
            .switch(&title, &side.switches, &unpublished)
            .filter(|name| self.generation.backend(name).is_some());
        let name = chosen.or_else(|| proxy.leads_to().map(ToString::to_string));
        let backend = name.as_ref().and_then(|n| self.generation.backend(n));
        let (Some(name), Some(backend)) = (&name, backend) else {
            self.out
                .push_str("\nthe request is refused with 503: no backend is meant\n");
            return;
        };
        if side.default_backend.is_some() && unpublished.contains(&backend.name) {
            self.out.push_str(&format!(
                "\nthe request is refused with 503: backend '{name}' is not published\n"
            ));
            return;
        }
        self.out.push_str(&format!("\nbackend '{name}'\n"));
        self.stream.backend = Some(Arc::clone(&backend.name));
        self.stream.backend_id = backend.id;
        let behind = Arc::clone(backend.proxy());
        if behind.name != proxy.name && self.content(&behind) == Way::Ends {
            return;
        }
        let title = format!("use-server rules of '{name}'");
        let server = self.switch(&title, &backend.side().use_server, &[]);
        let mut bytes = Vec::new();
        self.request.write_to(&mut bytes);
        self.out.push_str(&match server {
            Some(server) => format!("\nserver '{server}', if it is up\n"),
            None => match backend.servers() {
                [only] => format!("\nits only server, '{}'\n", only.name),
                all => format!(
                    "\none of {} servers, by {}\n",
                    all.len(),
                    admin::algorithm(&backend.side().balance)
                ),
            },
        });
        self.out.push_str("\nthe request after all rules:\n");
        for line in String::from_utf8_lossy(&bytes)
            .lines()
            .filter(|l| !l.is_empty())
        {
            self.out.push_str(&format!("    {line}\n"));
        }
    }
}
