//! The statistics page, and the services that rules name, as the engine wants them.

use admin::{Page, Visit};
use proxy::{Answer, NamedServices, ServiceRequest, StatsPages, StatsRequest};
use rules::Service;

/// What answers for the page and the services.
pub struct Pages;

impl StatsPages for Pages {
    fn serve(&self, request: &StatsRequest<'_>) -> Answer {
        let target = String::from_utf8_lossy(request.request.target());
        let authorization = request
            .request
            .get(b"authorization")
            .and_then(|a| std::str::from_utf8(a).ok());
        answer(admin::serve(&Visit {
            page: request.page,
            proxy: request.proxy,
            target: &target,
            authorization,
            change: (request.request.method() == b"POST").then_some(request.body),
            admin: request.admin,
            process: request.process,
            generation: request.generation,
            now: request.now,
        }))
    }
}

impl NamedServices for Pages {
    fn serve(&self, request: &ServiceRequest<'_>) -> Answer {
        match request.service {
            Service::PrometheusExporter => answer(admin::metrics(
                request.request.target(),
                request.process,
                request.generation,
                request.now,
            )),
        }
    }
}

fn answer(page: Page) -> Answer {
    let mut answer = Answer::error(page.status);
    answer
        .headers
        .push((b"content-type".to_vec(), page.content_type.into()));
    for (name, value) in page.headers {
        answer.headers.push((name.into(), value.into_bytes()));
    }
    answer.body = Some(page.body.into_bytes());
    answer
}
