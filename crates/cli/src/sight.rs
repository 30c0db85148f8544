//! What is told of a running Tierce: to `tierce ps`, and to the admin listener.
//!
//! Invariant: what is told of a node names its service only where there are several, so that nothing is said twice.

use control::{AppReasons, AppStatus, Ps, Sight};
use policy::{Duty, Outlook};
use proxy::UpstreamStatus;
use supervise::{NodeStatus, StaffStatus};

use crate::running::Running;

impl Running {
    pub(crate) fn ps(&self) -> Ps {
        let (mut apps, mut items) = (Vec::new(), Vec::new());
        if let Some(app) = &self.app {
            let name = self.config().name.clone();
            items.extend(app.supervisor.status().into_iter().map(|node| of_service(node, &name)));
            apps.push(status(&name, app.supervisor.outlook(), app.supervisor.staff()));
        }
        let upstreams = self.upstreams.borrow();
        apps.extend(upstreams.outlooks().map(|(name, outlook)| status(name, outlook, None)));
        items.extend(upstreams.status().map(|(name, upstream)| of_service(item(upstream), name)));
        if apps.len() == 1 {
            items.iter_mut().for_each(|node| node.service = None);
        }
        Ps { schema: 1, apps, items }
    }

    /// What the admin listener tells.
    pub(crate) fn sight(&self) -> Sight {
        let [made, failed] = &self.reloads;
        let obstacle = match &self.app {
            _ if self.edge.borrow().is_none() => Some("draining"),
            Some(app) if app.broken.get() => Some("the application cannot be loaded"),
            _ => None,
        };
        Sight {
            ps: self.ps(),
            obstacle,
            metrics: self.metrics.clone(),
            worker_ends: self.app.as_ref().map(|app| app.supervisor.worker_ends()).unwrap_or_default(),
            reloads: [("made", made.get()), ("failed", failed.get())],
        }
    }
}

fn status(name: &str, Outlook { queued, in_flight, bound }: Outlook, staff: Option<StaffStatus>) -> AppStatus {
    AppStatus { name: name.to_owned(), queued, reasons: Some(AppReasons { in_flight, bound, staff }) }
}

fn of_service(node: NodeStatus, name: &str) -> NodeStatus {
    NodeStatus { service: Some(name.to_owned()), ..node }
}

/// An upstream in the form of a node, which it is for whoever looks.
fn item(status: UpstreamStatus) -> NodeStatus {
    NodeStatus {
        node: status.address,
        service: None,
        state: status.state.to_owned(),
        weight: status.standing.weight,
        drained: status.standing.duty == Duty::Rests,
        hostname: status.host,
        isolation: status.trouble.unwrap_or_else(|| "upstream".to_owned()),
        generation: 1,
        pid: 0,
        requests: status.load.requests,
        in_flight: status.load.in_flight,
        slots: status.load.slots,
        rss: 0,
        uptime: status.since.elapsed().as_secs_f64(),
        workers: Vec::new(),
    }
}
