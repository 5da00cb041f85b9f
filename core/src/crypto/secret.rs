//! Secret bytes that stand in one place of memory, and stacks that are wiped after them.
//!
//! A value that is moved leaves its old bytes behind: on the stack, in a tree's node, in a list that grew. So secret bytes are made where
//! they stay and are reached through a pointer, and whatever must have them on the stack for a moment runs under [`wiping`].

use std::sync::Arc;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::Random;

/// How much of the stack is wiped: more than any cipher, signature or hash here uses, builds without optimisation included.
const STACK: usize = 32 * 1024;

/// Runs `work` and wipes the stack that it used. What it returns must not hold a secret by value.
pub fn wiping<R>(work: impl FnOnce() -> R) -> R {
    #[inline(never)]
    fn apart<R>(work: impl FnOnce() -> R) -> R {
        work()
    }
    let result = apart(work);
    zeroize::zeroize_stack::<STACK>();
    result
}

/// `N` secret bytes. Moves and clones share one place in memory, which is wiped when the last of them is dropped. Compared in constant time.
#[derive(Clone)]
pub struct Secret<const N: usize = 32>(Arc<Zeroizing<[u8; N]>>);

impl<const N: usize> Secret<N> {
    /// A secret whose bytes `fill` writes.
    pub(crate) fn filled(fill: impl FnOnce(&mut [u8; N])) -> Self {
        let mut bytes = Arc::new(Zeroizing::new([0; N]));
        fill(Arc::get_mut(&mut bytes).expect("nobody else has it yet"));
        Self(bytes)
    }

    /// A new secret.
    pub fn make(random: &mut dyn Random) -> Self {
        Self::filled(|bytes| random.fill(bytes))
    }

    /// The same bytes from a slice; `None` if the length is wrong.
    pub fn from_slice(slice: &[u8]) -> Option<Self> {
        (slice.len() == N).then(|| Self::filled(|bytes| bytes.copy_from_slice(slice)))
    }
}

impl<const N: usize> std::ops::Deref for Secret<N> {
    type Target = [u8; N];

    fn deref(&self) -> &[u8; N] {
        &self.0
    }
}

impl<const N: usize> From<&[u8; N]> for Secret<N> {
    fn from(bytes: &[u8; N]) -> Self {
        Self::filled(|to| to.copy_from_slice(bytes))
    }
}

impl<const N: usize> From<[u8; N]> for Secret<N> {
    fn from(bytes: [u8; N]) -> Self {
        Self::from(&*Zeroizing::new(bytes))
    }
}

impl<const N: usize> From<Zeroizing<[u8; N]>> for Secret<N> {
    fn from(bytes: Zeroizing<[u8; N]>) -> Self {
        Self::from(&*bytes)
    }
}

impl<const N: usize> PartialEq for Secret<N> {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&**other.0).into()
    }
}

impl<const N: usize> Eq for Secret<N> {}

impl<const N: usize> std::fmt::Debug for Secret<N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl<const N: usize> serde::Serialize for Secret<N> {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_bytes(&**self)
    }
}

impl<'de, const N: usize> serde::Deserialize<'de> for Secret<N> {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Bytes<const N: usize>;
        impl<const N: usize> serde::de::Visitor<'_> for Bytes<N> {
            type Value = Secret<N>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{N} bytes")
            }

            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Secret<N>, E> {
                Secret::from_slice(bytes).ok_or_else(|| E::invalid_length(bytes.len(), &self))
            }
        }
        d.deserialize_bytes(Bytes)
    }
}

/// Bytes that grow without leaving a copy behind.
#[derive(Default)]
pub(crate) struct Wiped(Zeroizing<Vec<u8>>);

impl Wiped {
    pub(crate) fn into_inner(self) -> Zeroizing<Vec<u8>> {
        self.0
    }
}

impl std::io::Write for Wiped {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let length = self.0.len() + bytes.len();
        if length > self.0.capacity() {
            let mut larger = Zeroizing::new(Vec::with_capacity(length.max(2 * self.0.capacity()).max(256)));
            larger.extend_from_slice(&self.0);
            // The smaller one is wiped as it is dropped.
            self.0 = larger;
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn equal_bytes_are_equal_and_every_flipped_bit_is_not() {
        let secret = Secret::from([7; 16]);
        assert_eq!(secret, Secret::from([7; 16]));
        for bit in 0..128 {
            let mut other = [7; 16];
            other[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(secret, Secret::from(other));
        }
        assert_eq!(Secret::<16>::from_slice(&[7; 15]), None);
        assert_eq!(Secret::<16>::from_slice(&[7; 17]), None);
        assert_eq!(format!("{secret:?}"), "Secret(..)");
    }

    #[test]
    fn a_secret_is_a_byte_string_of_its_length_in_cbor() {
        let bytes = super::super::encode(&Secret::from([7; 16]));
        assert_eq!(bytes, [&[0x50][..], &[7; 16]].concat());
        assert_eq!(super::super::decode::<Secret<16>>(&bytes), Ok(Secret::from([7; 16])));
        assert!(super::super::decode::<Secret<15>>(&bytes).is_err());
        assert!(super::super::decode::<Secret<16>>(b"\x61a").is_err());
    }

    #[test]
    fn what_is_written_piece_by_piece_is_there() {
        let mut wiped = Wiped::default();
        let mut expected = Vec::new();
        for n in 0..1_000u16 {
            wiped.write_all(&n.to_le_bytes()).unwrap();
            expected.extend_from_slice(&n.to_le_bytes());
        }
        assert_eq!(*wiped.into_inner(), expected);
    }

    #[test]
    fn what_grows_moves_only_when_it_must() {
        let mut grows = Wiped::default();
        grows.write_all(&[1]).expect("memory");
        assert!(grows.0.capacity() >= 256, "made by us, not by the list itself");
        let (place, room) = (grows.0.as_ptr(), grows.0.capacity());
        grows.write_all(&vec![2; room - 1]).expect("memory");
        assert_eq!((grows.0.as_ptr(), grows.0.capacity()), (place, room));
        // Far more than twice as much, at once.
        grows.write_all(&vec![3; 10 * room]).expect("memory");
        assert_eq!(grows.0.capacity(), 11 * room);
        assert_eq!(
            *grows.into_inner(),
            [vec![1], vec![2; room - 1], vec![3; 10 * room]].concat()
        );
    }
}
