//! The numbers of addresses, by which workers know what to tell the application of them.
//!
//! Invariant: an address keeps its number, also while nobody listens there: connections that it has accepted may go on.

use super::Address;

/// As many addresses that nobody listens on any more are remembered, those in use included: the number of the one that went
/// first is given to another then.
const REMEMBERED_MAX: usize = 512;

/// All addresses, each at its number.
#[derive(Clone, Debug, Default)]
pub(super) struct Numbers {
    addresses: Vec<Address>,
    /// When each was last listened on, counted in changes.
    last: Vec<u64>,
    changes: u64,
}

impl Numbers {
    /// Those of all addresses that are listened on from now on.
    pub(super) fn assign<'a>(&mut self, addresses: impl Iterator<Item = &'a Address> + Clone) -> Vec<u16> {
        self.changes += 1;
        for address in addresses.clone() {
            if let Some(number) = self.of(address) {
                self.note(number, address);
            }
        }
        addresses.map(|address| self.number(address)).collect()
    }

    fn number(&mut self, address: &Address) -> u16 {
        let forgotten = || {
            let gone = (0..self.last.len()).filter(|number| self.last[*number] != self.changes);
            gone.min_by_key(|number| self.last[*number]).filter(|_| REMEMBERED_MAX <= self.last.len())
        };
        let number = self.of(address).or_else(forgotten).unwrap_or(self.addresses.len());
        self.note(number, address);
        u16::try_from(number).unwrap_or(u16::MAX)
    }

    fn of(&self, address: &Address) -> Option<usize> {
        self.addresses.iter().position(|known| known.is_at(address))
    }

    fn note(&mut self, number: usize, address: &Address) {
        if number == self.addresses.len() {
            self.addresses.push(address.clone());
            self.last.push(self.changes);
        }
        self.addresses[number] = address.clone();
        self.last[number] = self.changes;
    }

    pub(super) fn addresses(&self) -> &[Address] {
        &self.addresses
    }
}

#[cfg(test)]
mod tests {
    use config::Protocol;

    use super::*;

    fn address(port: u16, protocol: Protocol) -> Address {
        Address::Tcp { host: "a".to_owned(), port, protocol }
    }

    fn assign(numbers: &mut Numbers, ports: &[u16]) -> Vec<u16> {
        let addresses: Vec<_> = ports.iter().map(|port| address(*port, Protocol::Http)).collect();
        numbers.assign(addresses.iter())
    }

    #[test]
    fn an_address_keeps_its_number_also_while_it_is_gone() {
        let mut numbers = Numbers::default();
        for (ports, expected) in
            [(&[1, 2][..], &[0, 1][..]), (&[2], &[1]), (&[3, 2], &[2, 1]), (&[1, 3], &[0, 2]), (&[], &[])]
        {
            assert_eq!(assign(&mut numbers, ports), expected, "{ports:?}");
        }
        assert_eq!(numbers.assign([address(2, Protocol::Https)].iter()), [1], "whatever is spoken there");
        assert_eq!(numbers.addresses()[1], address(2, Protocol::Https));
    }

    #[test]
    fn the_one_that_went_first_is_forgotten_first() {
        let mut numbers = Numbers::default();
        let all: Vec<_> = (1..=512).collect();
        assign(&mut numbers, &all);
        assign(&mut numbers, &all[1..]);
        assert_eq!(assign(&mut numbers, &[10, 20]), [9, 19]);
        assert_eq!(assign(&mut numbers, &[10, 600, 601]), [9, 0, 1], "after 1 all others went, but for 20");
        assert_eq!(numbers.addresses().len(), 512);
    }
}
