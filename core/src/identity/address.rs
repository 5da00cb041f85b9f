//! Where a cloud peer is: what a person keeps beside the 24 words.

use super::Ticket;
use crate::crypto::PublicKey;

/// A cloud peer's endpoint and where to look for it. Written `KEY@host:port,host:port`, the key as 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerAddress {
    /// The endpoint to dial.
    pub endpoint: PublicKey,
    /// Where it is: `host:port` or a relay's URL.
    pub addresses: Vec<String>,
}

/// Addresses of one peer, and letters of each.
const MOST: usize = 64;
const LONGEST: usize = 255;

impl PeerAddress {
    /// Reads an address as `to_string` writes it, or takes it out of a code that the peer shows, expired or not. `None` if it
    /// is neither.
    pub fn parse(text: &str) -> Option<Self> {
        if let Ok(ticket) = Ticket::parse(text) {
            return Some(Self {
                endpoint: ticket.endpoint,
                addresses: ticket.addresses,
            });
        }
        let (key, places) = text.trim().split_once('@')?;
        let addresses: Vec<String> = places.split(',').map(|place| place.trim().to_owned()).collect();
        let fits = |place: &String| !place.is_empty() && place.len() <= LONGEST;
        let good = addresses.len() <= MOST && addresses.iter().all(fits);
        Some(Self {
            endpoint: PublicKey::from_hex(key)?,
            addresses: good.then_some(addresses)?,
        })
    }
}

impl std::fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}", self.endpoint, self.addresses.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_as_it_is_written() {
        let address = PeerAddress {
            endpoint: PublicKey([7; 32]),
            addresses: vec!["box.example:7700".into(), "192.168.1.2:7700".into()],
        };
        assert_eq!(PeerAddress::parse(&format!(" {address}\n")), Some(address));
        for wrong in [
            "",
            "@",
            "07@host:1",
            &format!("{}@", "07".repeat(32)),
            &format!("{}@a,,b", "07".repeat(32)),
        ] {
            assert_eq!(PeerAddress::parse(wrong), None, "{wrong:?}");
        }
    }
}
