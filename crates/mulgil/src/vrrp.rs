//! Addresses shared with other machines: the failover service in the life of the process.

use crate::replicas::{Sessions, Tables};
use failover::{Replica, Service, Start, Synchroniser, Watch};
use model::Config;
use state::{Process, VirtualRouters, VrrpStatus};
use std::cell::RefCell;
use std::sync::Arc;

/// The virtual routers of the configuration in force, if it has any.
pub struct VirtualAddresses {
    service: RefCell<Option<Service>>,
    /// Keeps sessions alike with the peers, where a section wants it.
    sync: RefCell<Option<Synchroniser>>,
    /// What copies the packet plane's sessions, until somebody wants it.
    sessions: RefCell<Option<packet::Copies>>,
    process: Arc<Process>,
}

/// What tracking may know of the proxy.
struct Proxy(Arc<Process>);

impl Watch for Proxy {
    fn frontend(&self, name: &str) -> bool {
        let generation = self.0.generation.load();
        let frontend = generation.frontend(name);
        let serves =
            |f: &Arc<state::Frontend>| f.is_enabled() && !f.is_shut() && !f.proxy().disabled;
        !self.0.is_stopping() && frontend.is_some_and(serves)
    }

    fn backend(&self, name: &str) -> bool {
        let generation = self.0.generation.load();
        generation.backend(name).is_some_and(|b| b.serves())
    }
}

impl VirtualAddresses {
    /// Starts the service where there are sections for it; before privileges are given up.
    pub fn start(
        config: &Config,
        process: &Arc<Process>,
        how: Start,
    ) -> Result<VirtualAddresses, String> {
        let all = VirtualAddresses {
            service: RefCell::default(),
            sync: RefCell::default(),
            sessions: RefCell::default(),
            process: Arc::clone(process),
        };
        if !config.vrrp.is_empty() {
            all.begin(config, how)?;
        } else if failover::is_left_behind() {
            // To begin is to tidy up after a crash; there is nothing else to do.
            if let Err(why) = all.begin(config, how) {
                eprintln!("warning: {why}");
            }
            all.stop();
        }
        Ok(all)
    }

    fn begin(&self, config: &Config, how: Start) -> Result<(), String> {
        let watch = Box::new(Proxy(Arc::clone(&self.process)));
        let say = Box::new(|line: &str| eprintln!("{line}"));
        let service = Service::start(
            how,
            config.vrrp.clone(),
            watch,
            Arc::clone(&self.process.replication),
            say,
        )?;
        self.service.replace(Some(service));
        Ok(())
    }

    /// The process has given up its privileges.
    pub fn reduce_rights(&self) {
        if let Some(service) = &*self.service.borrow() {
            service.reduce_rights();
        }
    }

    /// Keeps sessions alike with the peers, where a section of the configuration wants it. `sessions`
    /// are those of a packet plane that has just been opened.
    pub fn synchronise(&self, sessions: Option<packet::Copies>) -> Result<(), String> {
        if sessions.is_some() {
            *self.sessions.borrow_mut() = sessions;
        }
        let config = Arc::clone(&self.process.generation.load().config);
        let service = self.service.borrow();
        let wanted = config.vrrp.iter().any(|v| v.sync.is_some()) || self.sync.borrow().is_some();
        let (true, Some(service)) = (wanted, &*service) else {
            return Ok(());
        };
        let copies = self.sessions.take();
        let tables = copies
            .into_iter()
            .map(|c| Box::new(Sessions::new(c)) as Box<dyn Replica>);
        let mut sync = self.sync.borrow_mut();
        if let Some(sync) = &*sync {
            tables.for_each(|t| sync.add(t));
            sync.reload(&config.vrrp);
            return Ok(());
        }
        let stick: Box<dyn Replica> = Box::new(Tables::new(Arc::clone(&self.process)));
        let say = Box::new(|line: &str| eprintln!("{line}"));
        *sync = Some(Synchroniser::start(
            &config.vrrp,
            tables.chain([stick]).collect(),
            Arc::clone(&self.process.replication),
            service.looker()?,
            say,
        )?);
        Ok(())
    }

    /// Follows another configuration; says what it could not do.
    pub fn reload(&self, config: &Config) -> Vec<String> {
        if let Some(service) = &*self.service.borrow() {
            return service.reload(config.vrrp.clone());
        }
        if config.vrrp.is_empty() || self.process.is_stopping() {
            return Vec::new();
        }
        match self.begin(config, Start::default()) {
            Ok(()) => Vec::new(),
            Err(why) => vec![format!("error: {why}")],
        }
    }

    /// Hands the addresses over to other machines.
    pub fn stop(&self) {
        self.sync.take();
        if let Some(service) = self.service.take() {
            service.stop();
        }
    }
}

impl VirtualRouters for VirtualAddresses {
    fn status(&self) -> Option<Vec<VrrpStatus>> {
        match &*self.service.borrow() {
            Some(service) => service.status(),
            None => Some(Vec::new()),
        }
    }

    fn release(&self, name: Option<&str>, released: bool) -> Result<(), String> {
        match &*self.service.borrow() {
            Some(service) => service.release(name, released),
            None => Err("there is no vrrp section".into()),
        }
    }
}
