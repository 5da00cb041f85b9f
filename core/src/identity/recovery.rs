//! 24 words (BIP-39) that bring an identity back.

use bip39::{Language, Mnemonic};
use zeroize::Zeroizing;

use super::RecoveryKeys;
use crate::crypto::{AgreementKey, Random, Secret, SigningKey, derive_key, wiping};

/// 24 words of at most eight letters, and the spaces between them.
const LONGEST: usize = 24 * 8 + 23;

/// The 32 bytes behind the words. Wiped when dropped.
#[derive(Clone)]
pub struct RecoverySecret(Secret);

impl RecoverySecret {
    /// New words.
    pub fn make(random: &mut dyn Random) -> Self {
        Self(Secret::make(random))
    }

    /// The secret that 24 English words spell; `None` if a word or the checksum is wrong.
    pub fn from_words(words: &str) -> Option<Self> {
        wiping(|| {
            let mnemonic = Mnemonic::parse_in_normalized(Language::English, words).ok()?;
            let entropy = Zeroizing::new(mnemonic.to_entropy());
            Secret::from_slice(&entropy).map(Self)
        })
    }

    /// The 24 words: show them once, keep them nowhere.
    pub fn words(&self) -> Zeroizing<String> {
        wiping(|| {
            let mnemonic = Mnemonic::from_entropy(&*self.0).expect("32 bytes are a BIP-39 entropy");
            // Long enough from the start: a text that grows leaves pieces behind.
            let mut words = Zeroizing::new(String::with_capacity(LONGEST));
            for word in mnemonic.words() {
                if !words.is_empty() {
                    words.push(' ');
                }
                words.push_str(word);
            }
            words
        })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::SeededRandom;

    #[test]
    fn words_are_spelled_without_moving() {
        for seed in 0..20 {
            let words = RecoverySecret::make(&mut SeededRandom::new(seed)).words();
            assert_eq!(
                words.capacity(),
                215,
                "as long as 24 words can be, and never another place"
            );
        }
    }
}
