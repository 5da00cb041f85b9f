//! Wrapping a key for one recipient: HPKE (RFC 9180) in base mode, X25519 and ChaCha20-Poly1305.

use hpke::{
    Deserializable, Kem as _, OpModeR, OpModeS, Serializable, aead::ChaCha20Poly1305, kdf::HkdfSha256,
    kem::X25519HkdfSha256 as Kem, single_shot_open, single_shot_seal_with_rng,
};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{CryptoError, Random, Secret, SeededRandom, ids::bytes_id, random::AsRng, wiping};

bytes_id!(
    /// The public half of a key-agreement key (X25519).
    AgreementPublic,
    32
);

/// The secret half (X25519). Wiped when dropped.
#[derive(Clone)]
pub struct AgreementKey(Secret);

/// Bytes wrapped for one recipient.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wrap(
    /// Whom it is for.
    pub AgreementPublic,
    /// The encapsulated ephemeral key.
    pub AgreementPublic,
    /// The ciphertext with its tag.
    #[serde(with = "serde_bytes")]
    pub Vec<u8>,
);

impl AgreementKey {
    /// The key whose scalar is `scalar` (clamped as RFC 7748 says).
    pub fn from_scalar(scalar: impl Into<Secret>) -> Self {
        Self(scalar.into())
    }

    /// The public half.
    pub fn public(&self) -> AgreementPublic {
        let public = wiping(|| Kem::sk_to_pk(&self.hpke()));
        AgreementPublic(public.to_bytes().into())
    }

    /// Opens a wrap made for this key with the same `info`. A result that no secret of ours went into (an all-zero shared
    /// secret, from a small-order point) is refused, as RFC 9180 section 7.1.4 asks.
    pub fn unwrap(&self, info: &[u8], wrap: &Wrap) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
        if wrap.0 != self.public() {
            return Err(CryptoError::BadWrap);
        }
        let enc = <Kem as hpke::Kem>::EncappedKey::from_bytes(&wrap.1.0).map_err(|_| CryptoError::BadWrap)?;
        let open = || {
            single_shot_open::<ChaCha20Poly1305, HkdfSha256, Kem>(
                &OpModeR::Base,
                &self.hpke(),
                &enc,
                info,
                &wrap.2,
                &[],
            )
        };
        wiping(open).map(Zeroizing::new).map_err(|_| CryptoError::BadWrap)
    }

    fn hpke(&self) -> <Kem as hpke::Kem>::PrivateKey {
        <Kem as hpke::Kem>::PrivateKey::from_bytes(&*self.0).expect("any 32 bytes are an X25519 scalar")
    }
}

impl AgreementPublic {
    /// Whether anything can be wrapped for it: not for a point of small order.
    pub fn can_receive(&self) -> bool {
        self.wrap(&mut SeededRandom::new(0), b"", b"").is_ok()
    }

    /// Wraps `plain` for the holder of this key, bound to `info`. A key that would give an all-zero shared secret is refused.
    pub fn wrap(&self, random: &mut dyn Random, info: &[u8], plain: &[u8]) -> Result<Wrap, CryptoError> {
        let recipient = <Kem as hpke::Kem>::PublicKey::from_bytes(&self.0).map_err(|_| CryptoError::BadWrap)?;
        let seal = || {
            single_shot_seal_with_rng::<ChaCha20Poly1305, HkdfSha256, Kem>(
                &OpModeS::Base,
                &recipient,
                info,
                plain,
                &[],
                &mut AsRng(random),
            )
        };
        let (enc, sealed) = wiping(seal).map_err(|_| CryptoError::BadWrap)?;
        Ok(Wrap(*self, AgreementPublic(enc.to_bytes().into()), sealed))
    }
}

impl std::fmt::Debug for AgreementKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AgreementKey({})", self.public().short())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u8) -> AgreementKey {
        AgreementKey::from_scalar(Zeroizing::new([n; 32]))
    }

    fn unhex(text: &str) -> Vec<u8> {
        data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_wrap_opens_for_its_recipient_and_purpose_alone() {
        let mut random = SeededRandom::new(1);
        let wrap = key(1).public().wrap(&mut random, b"info", b"secret").unwrap();
        assert_eq!(&**key(1).unwrap(b"info", &wrap).unwrap(), b"secret");
        assert!(key(2).unwrap(b"info", &wrap).is_err());
        assert!(key(1).unwrap(b"other", &wrap).is_err());
        let stolen = Wrap(key(2).public(), wrap.1, wrap.2.clone());
        assert!(key(2).unwrap(b"info", &stolen).is_err());
    }

    #[test]
    fn a_small_order_point_is_refused_on_both_sides() {
        let mut random = SeededRandom::new(1);
        for low in [[0; 32], {
            let mut one = [0; 32];
            one[0] = 1;
            one
        }] {
            assert!(AgreementPublic(low).wrap(&mut random, b"", b"secret").is_err());
            assert!(!AgreementPublic(low).can_receive() && key(1).public().can_receive());
            let wrap = Wrap(key(1).public(), AgreementPublic(low), vec![0; 48]);
            assert!(key(1).unwrap(b"", &wrap).is_err());
        }
    }

    /// RFC 9180, appendix A.2.1 (DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20Poly1305, base mode), sequence number 0.
    /// The RFC's example has an aad, which our wraps never use, so the library is called with it here.
    #[test]
    fn the_rfc_9180_vector_opens() {
        let secret = unhex("8057991eef8f1f1af18f4a9491d16a1ce333f695d4db8e38da75975c4478e0fb");
        let enc = unhex("1afa08d3dec047a643885163f1180476fa7ddb54c6a8029ea33f95796bf2ac4a");
        let info = unhex("4f6465206f6e2061204772656369616e2055726e");
        let aad = unhex("436f756e742d30");
        let sealed =
            unhex("1c5250d8034ec2b784ba2cfd69dbdb8af406cfe3ff938e131f0def8c8b60b4db21993c62ce81883d2dd1b51a28");
        let key = AgreementKey::from_scalar(Zeroizing::new(secret.try_into().unwrap()));
        assert_eq!(
            key.public().to_string(),
            "4310ee97d88cc1f088a5576c77ab0cf5c3ac797f3d95139c6c84b5429c59662a"
        );
        let enc = <Kem as hpke::Kem>::EncappedKey::from_bytes(&enc).unwrap();
        let plain = single_shot_open::<ChaCha20Poly1305, HkdfSha256, Kem>(
            &OpModeR::Base,
            &key.hpke(),
            &enc,
            &info,
            &sealed,
            &aad,
        )
        .unwrap();
        assert_eq!(plain, b"Beauty is truth, truth beauty");
    }
}
