//! Whether a request may ask for a slot: not in maintenance, not too often, not beside too many of the same client or of its route.
//!
//! Invariant: what is refused here has not been shown to the application, and what a request holds from here on it holds until the
//! work has ended. Where nothing of it is configured, nothing is locked, counted or allocated.

use std::{
    rc::Rc,
    time::{Duration, Instant},
};

use config::{ErrorPages, Maintenance, Own, RateKey};
use units::{Cause, Ending, Phase};

use crate::{
    body::Upload,
    clients::{RateRule, Share, Who},
    connection::Connection,
    lane::{self, Pass},
    record::Story,
    request::Request,
};

/// What protects the application from all requests together.
#[derive(Debug, Default)]
pub(crate) struct Protection {
    rate: Option<RateRule>,
    client_in_flight: Option<u32>,
    /// The most connections of one address.
    pub(crate) client_connections: Option<u32>,
    maintenance: Option<Maintenance>,
    /// What browsers see in place of our own pages.
    pub(crate) pages: ErrorPages,
}

/// What a request holds beside its slot. Whoever works on it holds the same, also when its client has gone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Held {
    /// Among the requests of its client.
    _share: Option<Rc<Share>>,
    /// Among those of its route.
    _pass: Option<Rc<Pass>>,
}

impl Held {
    /// The application has answered: from here on only its work keeps others from it, and not a client that reads slowly.
    pub(crate) fn answered(&mut self) {
        self._pass = None;
    }
}

impl Protection {
    pub(crate) fn new(config: &config::Protection) -> Self {
        Self {
            rate: config.rate.as_ref().map(|rate| RateRule::new(rate, "all")),
            client_in_flight: config.client_in_flight,
            client_connections: config.client_connections,
            maintenance: config.maintenance.clone(),
            pages: config.pages.clone(),
        }
    }

    /// Whether, and how, a request is kept from the application.
    pub(crate) fn maintenance<'a>(&'a self, request: &'a Request<'_>) -> Option<&'a Maintenance> {
        match request.route {
            Some(route) => route.rule.maintenance.or(self.maintenance.as_ref()),
            None => self.maintenance.as_ref(),
        }
    }
}

/// Lets a request go on, perhaps after a while; tells until when a worker has to have started it.
pub(crate) async fn enter(
    connection: &mut Connection,
    request: &Request<'_>,
    upload: &Upload,
    story: &mut Story,
) -> Result<Instant, Ending> {
    let now = Instant::now();
    let settings = connection.thread.settings();
    let protection = &settings.protection;
    let client = request.client(&connection.peer);
    if let Some(maintenance) = protection.maintenance(request).filter(|closed| !closed.allow.contains(client)) {
        return Err(refused(Cause::Maintenance, maintenance.retry_after, story));
    }
    if let Some(rule) = &protection.rate
        && request.route.is_none_or(|route| route.rule.rate == Own::AsForAll)
    {
        count(connection, request, rule, story)?;
    }
    let share = match protection.client_in_flight {
        None => None,
        Some(most) => {
            let share = connection.thread.clients.request(Who::at(client), most);
            Some(share.ok_or_else(|| refused(Cause::ClientInFlight, Duration::ZERO, story))?)
        }
    };
    story.asked(now, request.service);
    let start_by = now + request.queue;
    let pass = match request.route.and_then(|route| route.lane.as_ref()) {
        None => None,
        Some(lane) => Some(lane::wait(connection, lane, start_by, upload.end()).await?),
    };
    if share.is_some() || pass.is_some() {
        *request.held.borrow_mut() = Held { _share: share.map(Rc::new), _pass: pass.map(Rc::new) };
    }
    Ok(start_by)
}

/// Counts a request of a client under a rule.
pub(crate) fn count(
    connection: &Connection,
    request: &Request<'_>,
    rule: &RateRule,
    story: &mut Story,
) -> Result<(), Ending> {
    let input = &connection.input;
    let value = match &rule.by {
        RateKey::Client => None,
        RateKey::Header(name) => request
            .head
            .fields
            .iter()
            .find(|field| field.name.of(input).eq_ignore_ascii_case(name.as_bytes()))
            .map(|field| Who::Value(field.value.of(input))),
    };
    let who = value.unwrap_or_else(|| Who::at(request.client(&connection.peer)));
    let taken = connection.thread.clients.take(rule, who, Instant::now());
    taken.map_err(|wait| refused(Cause::RateLimited, wait, story))
}

/// The ending of a request that is to come again after `wait`.
pub(crate) fn refused(cause: Cause, wait: Duration, story: &mut Story) -> Ending {
    story.retry_after(wait);
    Ending::new(cause, Phase::Queue)
}
