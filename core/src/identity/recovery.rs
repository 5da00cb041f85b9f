//! 24 words (BIP-39) that bring an identity back.

use bip39::{Language, Mnemonic};
use zeroize::Zeroizing;

use super::RecoveryKeys;
use crate::crypto::{AgreementKey, Random, SigningKey, derive_key};

/// The 32 bytes behind the words. Wiped when dropped.
#[derive(Clone)]
pub struct RecoverySecret(Zeroizing<[u8; 32]>);

impl RecoverySecret {
    /// New words.
    pub fn make(random: &mut dyn Random) -> Self {
        Self(Zeroizing::new(random.bytes()))
    }

    /// The secret that 24 English words spell; `None` if a word or the checksum is wrong.
    pub fn from_words(words: &str) -> Option<Self> {
        let mnemonic = Mnemonic::parse_in_normalized(Language::English, words).ok()?;
        let entropy = Zeroizing::new(mnemonic.to_entropy());
        Some(Self(Zeroizing::new(entropy.as_slice().try_into().ok()?)))
    }

    /// The 24 words: show them once, keep them nowhere.
    pub fn words(&self) -> Zeroizing<String> {
        let mnemonic = Mnemonic::from_entropy(&*self.0).expect("32 bytes are a BIP-39 entropy");
        Zeroizing::new(mnemonic.to_string())
    }

    /// The public halves.
    pub fn public(&self) -> RecoveryKeys {
        RecoveryKeys(self.signing().public(), self.agreement().public())
    }

    /// Signs what recovery does.
    pub fn signing(&self) -> SigningKey {
        SigningKey::from_seed(&derive_key("recovery signing", &self.0))
    }

    /// Opens what is wrapped for recovery.
    pub fn agreement(&self) -> AgreementKey {
        AgreementKey::from_scalar(derive_key("recovery agreement", &self.0))
    }
}

impl std::fmt::Debug for RecoverySecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RecoverySecret(..)")
    }
}
