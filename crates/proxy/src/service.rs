//! Inner services: what answers requests without a server.

use crate::reply::Answer;
use http::Head;
use model::StatsPage;
use rules::Service;
use state::{Generation, Process};
use std::time::Instant;

/// A request for a statistics page.
pub struct StatsRequest<'a> {
    /// The page's settings.
    pub page: &'a StatsPage,
    /// The proxy that has it.
    pub proxy: &'a str,
    /// The request.
    pub request: &'a Head,
    /// Its body, where it may change something.
    pub body: &'a [u8],
    /// Whether it may change something (`stats admin`).
    pub admin: bool,
    /// The process.
    pub process: &'a Process,
    /// The configuration that the request began with.
    pub generation: &'a Generation,
    /// Now.
    pub now: Instant,
}

/// The statistics page.
pub trait StatsPages: Send + Sync {
    /// The answer.
    fn serve(&self, request: &StatsRequest<'_>) -> Answer;
}

/// A request that a rule gives to a service (`use-service`).
pub struct ServiceRequest<'a> {
    /// The service.
    pub service: Service,
    /// The request.
    pub request: &'a Head,
    /// The process.
    pub process: &'a Process,
    /// The configuration that the request began with.
    pub generation: &'a Generation,
    /// Now.
    pub now: Instant,
}

/// The services that rules name.
pub trait NamedServices: Send + Sync {
    /// The answer.
    fn serve(&self, request: &ServiceRequest<'_>) -> Answer;
}

/// All inner services.
pub struct Services {
    /// The statistics page.
    pub stats: Box<dyn StatsPages>,
    /// Those that rules name.
    pub named: Box<dyn NamedServices>,
}
