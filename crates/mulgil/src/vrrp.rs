//! Addresses shared with other machines: the failover service in the life of the process.

use failover::{Service, Watch};
use model::Config;
use state::{Process, VirtualRouters, VrrpStatus};
use std::cell::RefCell;
use std::sync::Arc;

/// The virtual routers of the configuration in force, if it has any.
pub struct VirtualAddresses {
    service: RefCell<Option<Service>>,
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
        generation.backend(name).is_some_and(|b| b.usable() > 0)
    }
}

impl VirtualAddresses {
    /// Starts the service where there are sections for it; before privileges are given up.
    pub fn start(config: &Config, process: &Arc<Process>) -> Result<VirtualAddresses, String> {
        let all = VirtualAddresses {
            service: RefCell::default(),
            process: Arc::clone(process),
        };
        if !config.vrrp.is_empty() {
            all.begin(config)?;
        }
        Ok(all)
    }

    fn begin(&self, config: &Config) -> Result<(), String> {
        let watch = Box::new(Proxy(Arc::clone(&self.process)));
        let say = Box::new(|line: &str| eprintln!("{line}"));
        let service = Service::start(config.vrrp.clone(), watch, say)?;
        self.service.replace(Some(service));
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
        match self.begin(config) {
            Ok(()) => Vec::new(),
            Err(why) => vec![format!("error: {why}")],
        }
    }

    /// Hands the addresses over to other machines.
    pub fn stop(&self) {
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
