//! What a reload changes of all that is listened on; the admin listener, certificates and the threads of the edge included.
//!
//! Invariant: all that may fail is done by [`Running::prepare_listeners`], which changes nothing.

use std::rc::Rc;

use config::Config;
use control::AdminChange;
use proxy::{Address, BindError, Made, PrepareError, Settings};
use supervise::Front;
use tls::Loaded;

use crate::{
    certificates::Renewal,
    listeners::listener_names,
    refuse::{Refusal, cannot_bind, cannot_bind_admin},
    running::Running,
};

/// Everything is bound; nothing of it counts before [`Running::relisten`], and without that nothing was changed.
pub(crate) struct Relisten {
    /// Nothing when the edge is on its way out.
    edge: Option<proxy::Change>,
    admin: AdminChange,
    renewal: Renewal,
}

impl Running {
    /// Binds what it takes to listen as `config` says, with the certificates that were read for it.
    pub(crate) fn prepare_listeners(&self, config: &Config, certificates: Option<Loaded>) -> Result<Relisten, Refusal> {
        let mut edge = self.edge.borrow_mut();
        let edge = edge.as_mut().map(|edge| edge.prepare(&config.listen, config.cores as usize)).transpose();
        let edge = edge.map_err(|error| match error {
            PrepareError::Bind(error) => cannot_bind(&error),
            PrepareError::Edge(error) => Refusal::failed("the edge cannot have more threads", &error),
        })?;
        let admin = self.admin.borrow().prepare(&config.admin, &self.place);
        let admin = admin.map_err(|error| cannot_bind_admin(&error))?;
        Ok(Relisten { edge, admin, renewal: self.certificates.prepare(certificates)? })
    }

    /// What workers have to know of it.
    pub(crate) fn front(&self, relisten: &Relisten) -> Rc<Front> {
        let threads = self.edge.borrow().as_ref().map_or(1, proxy::Edge::threads);
        let numbered = relisten.edge.as_ref().map_or(&[][..], proxy::Change::numbered);
        Rc::new(Front { threads, listeners: listener_names(numbered) })
    }

    /// From now on it counts; returns what is to be told.
    pub(crate) fn relisten(&self, to: Relisten, settings: Settings) -> Vec<String> {
        let tls = self.certificates.renew(to.renewal);
        let edge = match (&mut *self.edge.borrow_mut(), to.edge) {
            (Some(edge), Some(change)) => edge.set(settings, change, tls),
            _ => Made::default(),
        };
        let admin = self.admin.borrow_mut().make(to.admin);
        edge.failed.iter().for_each(|error| self.complain(error, cannot_bind));
        admin.failed.iter().for_each(|error| self.complain(error, cannot_bind_admin));
        told(&edge)
    }

    /// Of what could be bound, and could not be used after all.
    fn complain(&self, error: &BindError, refusal: fn(&BindError) -> Refusal) {
        self.say(&refusal(error).explanation.to_string());
    }
}

/// `listens on http://127.0.0.1:9090`, `no longer on http://127.0.0.1:8080`.
fn told(made: &Made) -> Vec<String> {
    let list = |what: &str, addresses: &[Address]| {
        let addresses: Vec<_> = addresses.iter().map(Address::to_string).collect();
        (!addresses.is_empty()).then(|| format!("{what} {}", addresses.join(", ")))
    };
    [list("listens on", &made.came), list("no longer on", &made.went)].into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use config::Protocol;

    use super::*;

    #[test]
    fn what_came_and_went_is_told() {
        let address = |port| Address::Tcp { host: "a".to_owned(), port, protocol: Protocol::Http };
        for (came, went, text) in [
            (&[][..], &[][..], ""),
            (&[1, 2], &[], "listens on http://a:1, http://a:2"),
            (&[], &[3], "no longer on http://a:3"),
            (&[1], &[3], "listens on http://a:1; no longer on http://a:3"),
        ] {
            let [came, went] = [came, went].map(|ports| ports.iter().map(|port| address(*port)).collect());
            assert_eq!(told(&Made { came, went, failed: Vec::new() }).join("; "), text);
        }
    }
}
