//! Newtypes for fixed-length byte strings: one type for each meaning, so that an author can never be taken for a stream.

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

/// Back from [`hex`].
pub(crate) fn from_hex(text: &str) -> Option<Vec<u8>> {
    data_encoding::HEXLOWER.decode(text.as_bytes()).ok()
}

/// Declares a newtype over `[u8; N]` that is a CBOR byte string, ordered bytewise, and shown as hexadecimal.
macro_rules! bytes_id {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $len]);

        impl $name {
            /// The bytes.
            pub fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }

            /// The same bytes from a slice; `None` if the length is wrong.
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self)
            }

            /// The same from hexadecimal digits, as `Display` shows them; `None` if they are others, or too many or few.
            pub fn from_hex(text: &str) -> Option<Self> {
                Self::from_slice(&$crate::crypto::from_hex(text)?)
            }

            /// The first eight hexadecimal digits: enough to tell two apart on a screen.
            pub fn short(&self) -> String {
                $crate::crypto::hex(&self.0[..4])
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&$crate::crypto::hex(&self.0))
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.short())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                serde_bytes::Bytes::new(&self.0).serialize(s)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                <serde_bytes::ByteArray<$len>>::deserialize(d).map(|b| Self(b.into_array()))
            }
        }
    };
}
pub(crate) use bytes_id;
