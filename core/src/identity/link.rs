//! Tickets, and the short number that two screens compare (docs/formats.md, section 5, Linking).

use data_encoding::BASE32_NOPAD;
use serde::{Deserialize, Serialize};

use super::Keys;
use crate::crypto::{
    Bounded, Hash, PublicKey, Secret, Zeroizing, decode, encode_secret, hash, hash_of_secret, keyed_proof, wiping,
};

/// What the side that speaks is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkRole {
    /// A device of the identity.
    Member,
    /// A device that wants to join.
    NewDevice,
    /// A cloud peer.
    CloudPeer,
}

impl LinkRole {
    /// The byte on the wire.
    pub fn byte(self) -> u8 {
        match self {
            Self::Member => 0,
            Self::NewDevice => 1,
            Self::CloudPeer => 2,
        }
    }

    /// In words for a person.
    pub fn words(self) -> &'static str {
        match self {
            Self::Member => "a device of an identity",
            Self::NewDevice => "a new device",
            Self::CloudPeer => "a cloud peer",
        }
    }

    /// The role of a byte.
    pub fn from_byte(byte: u8) -> Option<Self> {
        [Self::Member, Self::NewDevice, Self::CloudPeer]
            .into_iter()
            .find(|role| role.byte() == byte)
    }
}

/// A `rhizome:` code: where to find a device or cloud peer, and a one-time secret that lets the reader link to it.
#[derive(Clone, PartialEq, Eq)]
pub struct Ticket {
    /// What shows it.
    pub role: LinkRole,
    /// The endpoint to dial.
    pub endpoint: PublicKey,
    /// Where it is: `host:port` or a relay's URL.
    pub addresses: Vec<String>,
    /// Good for one link.
    pub secret: Secret<16>,
    /// Seconds since 1970.
    pub expires: u64,
}

impl std::fmt::Debug for Ticket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Ticket({:?}, {:?})", self.role, self.addresses)
    }
}

/// Why a code cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TicketError {
    /// Not a code at all.
    #[error("this is not a Rhizome code: one begins with \"rhizome:\"")]
    NotATicket,
    /// Letters are missing or wrong.
    #[error("the code is damaged: copy or scan all of it again")]
    Damaged,
    /// Made by a newer version.
    #[error("the code is of a newer version: update this app")]
    NewerVersion,
    /// Its time is over.
    #[error("the code has expired: ask for a new one")]
    Expired,
}

#[derive(Serialize, Deserialize)]
struct WireTicket(u8, u8, PublicKey, Bounded<String, MAX_ADDRESSES>, Secret<16>, u64);

/// The most addresses in a ticket.
const MAX_ADDRESSES: usize = 64;
/// The most letters of a code: what is longer was not shown by us, and several copies are made of it.
const MAX_CODE: usize = 32 * 1024;

impl Ticket {
    /// Reads a code as typed or scanned; white space around it and letter case do not matter.
    pub fn parse(text: &str) -> Result<Self, TicketError> {
        wiping(|| Self::read(text))
    }

    fn read(text: &str) -> Result<Self, TicketError> {
        let code = text.trim();
        if code.len() > MAX_CODE {
            return Err(TicketError::Damaged);
        }
        let code = Zeroizing::new(code.to_ascii_lowercase());
        let code = code.strip_prefix("rhizome:").ok_or(TicketError::NotATicket)?;
        let code = Zeroizing::new(code.to_ascii_uppercase());
        let bytes = BASE32_NOPAD.decode(code.as_bytes()).map_err(|_| TicketError::Damaged)?;
        let bytes = Zeroizing::new(bytes);
        let (core, check) = bytes.split_last_chunk::<4>().ok_or(TicketError::Damaged)?;
        if hash("ticket", &[core]).0[..4] != check[..] {
            return Err(TicketError::Damaged);
        }
        let ticket: WireTicket = decode(core).map_err(|_| TicketError::NewerVersion)?;
        // One spelling only, as `decode_canonical` has it.
        if **encode_secret(&ticket) != *core {
            return Err(TicketError::NewerVersion);
        }
        let WireTicket(version, role, endpoint, addresses, secret, expires) = ticket;
        let role = LinkRole::from_byte(role)
            .filter(|_| version == 1)
            .ok_or(TicketError::NewerVersion)?;
        Ok(Self {
            role,
            endpoint,
            addresses: addresses.0,
            secret,
            expires,
        })
    }

    /// As [`Ticket::parse`], at `now` (seconds since 1970).
    pub fn parse_at(text: &str, now: u64) -> Result<Self, TicketError> {
        let ticket = Self::parse(text)?;
        if ticket.expires <= now {
            Err(TicketError::Expired)
        } else {
            Ok(ticket)
        }
    }
}

impl std::fmt::Display for Ticket {
    /// The code itself. It carries the secret: show it to the one who is to scan it, write it into no log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let core = encode_secret(&WireTicket(
            1,
            self.role.byte(),
            self.endpoint,
            Bounded(self.addresses.clone()),
            self.secret.clone(),
            self.expires,
        ));
        let check = hash("ticket", &[&core]);
        let bytes = Zeroizing::new([&core[..], &check.0[..4]].concat());
        let mut code = Zeroizing::new(BASE32_NOPAD.encode(&bytes));
        code.make_ascii_lowercase();
        // In one piece: a text that grows leaves pieces behind.
        f.write_str(&Zeroizing::new(["rhizome:", &code].concat()))
    }
}

/// What the dialler shows first: that it knows the secret, and a promise of a nonce that it can no longer change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkProof {
    /// H("link commitment", nonce).
    pub commitment: Hash,
    /// Keyed by the secret, over role, keys and commitment.
    pub proof: Hash,
}

impl LinkProof {
    /// What the dialler sends.
    pub fn make(secret: &[u8; 16], role: LinkRole, keys: &Keys, nonce: &[u8; 32]) -> Self {
        let commitment = hash("link commitment", &[nonce]);
        Self {
            commitment,
            proof: Hash(*prove(secret, role, keys, &commitment).as_bytes()),
        }
    }

    /// Whether the dialler knows `secret`. Takes the same time whatever it sent.
    pub fn proves(&self, secret: &[u8; 16], role: LinkRole, keys: &Keys) -> bool {
        prove(secret, role, keys, &self.commitment) == blake3::Hash::from_bytes(self.proof.0)
    }

    /// Whether `nonce` is the one that was promised.
    pub fn reveals(&self, nonce: &[u8; 32]) -> bool {
        hash("link commitment", &[nonce]) == self.commitment
    }
}

fn prove(secret: &[u8; 16], role: LinkRole, keys: &Keys, commitment: &Hash) -> blake3::Hash {
    keyed_proof(
        "link",
        secret,
        &[&[role.byte()], &keys.0.0, &keys.1.0, &keys.2.0, &commitment.0],
    )
}

/// The six digits that both screens show. The dialler committed to its nonce before it saw the other's, so neither side can
/// search for keys that give a wanted number.
pub fn short_number(
    secret: &[u8; 16],
    commitment: &Hash,
    dialler: (&[u8; 32], &Keys),
    shower: (&[u8; 32], &Keys),
) -> String {
    let keys = |keys: &Keys| [keys.0.0, keys.1.0, keys.2.0].concat();
    let digest = hash_of_secret(
        "short number",
        &[
            secret,
            &commitment.0,
            dialler.0,
            shower.0,
            &keys(dialler.1),
            &keys(shower.1),
        ],
    );
    let first = u64::from_be_bytes(digest.0[..8].try_into().expect("8 of 32 bytes"));
    format!("{:06}", first % 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{DeviceSecret, SeededRandom};

    #[test]
    fn a_proof_is_for_one_secret_one_role_these_keys_and_this_nonce() {
        let keys = |seed| Keys::of(&DeviceSecret::make(&mut SeededRandom::new(seed)).keys());
        let (mine, other) = (keys(1), keys(2));
        let (secret, nonce) = ([1; 16], [2; 32]);
        let proof = LinkProof::make(&secret, LinkRole::NewDevice, &mine, &nonce);
        assert!(proof.proves(&secret, LinkRole::NewDevice, &mine));
        assert!(!proof.proves(&[3; 16], LinkRole::NewDevice, &mine));
        assert!(!proof.proves(&secret, LinkRole::CloudPeer, &mine));
        for foreign in [
            Keys(other.0, mine.1, mine.2),
            Keys(mine.0, other.1, mine.2),
            Keys(mine.0, mine.1, other.2),
        ] {
            assert!(!proof.proves(&secret, LinkRole::NewDevice, &foreign));
        }
        let again = LinkProof {
            commitment: hash("link commitment", &[&[4; 32]]),
            ..proof
        };
        assert!(
            !again.proves(&secret, LinkRole::NewDevice, &mine),
            "a commitment of another"
        );
        assert!(proof.reveals(&nonce));
        assert!(!proof.reveals(&[4; 32]));
    }

    #[test]
    fn a_code_may_be_so_long_and_no_longer() {
        let code = |letters: usize| {
            let ticket = Ticket {
                role: LinkRole::CloudPeer,
                endpoint: PublicKey([1; 32]),
                addresses: vec!["x".repeat(letters)],
                secret: [5; 16].into(),
                expires: 1_000,
            };
            ticket.to_string()
        };
        // Eight letters of a code are five bytes.
        let most = 32_768;
        let about = most / 8 * 5 - 200;
        let longest = (about..).take_while(|letters| code(*letters).len() <= most).last();
        let longest = longest.expect("some fit");
        assert_eq!(code(longest).len(), most);
        assert!(Ticket::parse(&code(longest)).is_ok());
        assert_eq!(Ticket::parse(&code(longest + 1)), Err(TicketError::Damaged));
        assert_eq!(Ticket::parse(&code(longest + 2)), Err(TicketError::Damaged));
    }
}
