//! Every secret that a pod has, in the forms in which libraries keep them: what no memory and no log line may show.

use std::{path::Path, sync::Arc};

use rhizome::{
    DeviceSecret, FileKeeper, Keeper, Kept, Ticket,
    crypto::{OsRandom, SecretId, derive_key},
    store::LogStore,
    sync::{Limits, Replica},
};

use crate::raw;

fn add(secrets: &mut Vec<(String, Vec<u8>)>, name: &str, bytes: &[u8]) {
    secrets.push((name.to_owned(), bytes.to_vec()));
}

/// The device secret of the pod `name`, from its keeper.
pub fn device_secret(dir: &Path, name: &str) -> DeviceSecret {
    let file: serde_json::Value =
        serde_json::from_slice(&std::fs::read(dir.join(name).join("pod.json")).unwrap()).unwrap();
    let id = data_encoding::HEXLOWER.decode(file["secret"].as_str().unwrap().as_bytes());
    let id = SecretId::from_slice(&id.unwrap()).unwrap();
    match FileKeeper::new(dir.join(format!("{name}.keys"))).load(&id).unwrap() {
        Kept::Found(secret) => secret,
        other => panic!("{other:?}"),
    }
}

/// An Ed25519 key: its seed, and what signing computes from it (RFC 8032, section 5.1.5) in the forms that libraries keep.
fn add_signing_key(secrets: &mut Vec<(String, Vec<u8>)>, name: &str, seed: &[u8; 32]) {
    add(secrets, &format!("{name}: seed"), seed);
    let key = ed25519_dalek::SigningKey::from_bytes(seed);
    let mut scalar = key.to_scalar_bytes();
    add(secrets, &format!("{name}: scalar"), &scalar);
    add(secrets, &format!("{name}: reduced scalar"), &key.to_scalar().to_bytes());
    clamp(&mut scalar);
    add(secrets, &format!("{name}: clamped scalar"), &scalar);
}

fn clamp(scalar: &mut [u8; 32]) {
    scalar[0] &= 248;
    scalar[31] = scalar[31] & 127 | 64;
}

fn add_agreement_key(secrets: &mut Vec<(String, Vec<u8>)>, name: &str, scalar: &[u8; 32]) {
    add(secrets, name, scalar);
    let mut clamped = *scalar;
    clamp(&mut clamped);
    add(secrets, name, &clamped);
}

pub fn add_ticket(secrets: &mut Vec<(String, Vec<u8>)>, name: &str, code: &str) {
    add(
        secrets,
        &format!("{name}: secret"),
        &Ticket::parse(code).unwrap().secret[..],
    );
    let code = code.strip_prefix("rhizome:").unwrap();
    add(secrets, &format!("{name}: code"), code.to_ascii_lowercase().as_bytes());
    add(secrets, &format!("{name}: code"), code.to_ascii_uppercase().as_bytes());
}

/// Every key that the pod `name` can reach, from its files and its keeper, once no process has it open.
pub fn add_device(secrets: &mut Vec<(String, Vec<u8>)>, dir: &Path, name: &str) {
    let secret = device_secret(dir, name);
    let derive = |purpose: &str| derive_key(purpose, secret.expose());
    add(secrets, &format!("{name}: device secret"), secret.expose());
    add_signing_key(secrets, &format!("{name}: signing key"), &derive("device signing"));
    add_signing_key(secrets, &format!("{name}: endpoint key"), &derive("device endpoint"));
    add_agreement_key(secrets, &format!("{name}: agreement key"), &derive("device agreement"));
    let views = derive("views");
    add(secrets, &format!("{name}: key of views.db"), &*views);
    let hex = data_encoding::HEXLOWER.encode(&*views);
    add(secrets, &format!("{name}: key of views.db, hex"), hex.as_bytes());
    add(
        secrets,
        &format!("{name}: key of views.db, HEX"),
        hex.to_ascii_uppercase().as_bytes(),
    );

    let log = LogStore::open(&dir.join(name), false, &mut OsRandom).unwrap();
    let identity = log.read(|read| read.identities()).unwrap()[0];
    let keys = secret.keys();
    let replica = Replica::load(
        log.clone(),
        identity,
        keys.signing.clone(),
        Arc::new(|| 0),
        Limits::default(),
    )
    .unwrap();
    let known = replica.known();
    let (ring, binding) = (known.key_ring(&keys), known.ordered.binding());
    let identity_key = ring.identity_key(&known.ordered.key_id()).unwrap();
    add(secrets, &format!("{name}: identity key"), &**identity_key);
    add(
        secrets,
        &format!("{name}: key of sealed parts"),
        &*derive_key("sealed part", identity_key),
    );
    let mut epochs = 0;
    for operation in known.log.iter().map(|(_, operation)| operation).chain(&known.pending) {
        for (_, _, _, key) in &raw::open_sealed(operation, &binding, identity_key)
            .unwrap_or_default()
            .streams
        {
            add(secrets, &format!("{name}: epoch key"), &key[..]);
            add(secrets, &format!("{name}: section key"), &*derive_key("section", key));
            epochs += 1;
        }
    }
    assert!(epochs > 0);
    log.close();
}

pub fn add_words(secrets: &mut Vec<(String, Vec<u8>)>, words: &str) {
    let mnemonic = bip39::Mnemonic::parse_normalized(words).unwrap();
    let entropy: [u8; 32] = mnemonic.to_entropy().try_into().unwrap();
    add(secrets, "recovery: entropy", &entropy);
    let places: Vec<u8> = mnemonic
        .word_indices()
        .flat_map(|place| (place as u16).to_le_bytes())
        .collect();
    add(secrets, "recovery: places of the words", &places);
    for some in words.split(' ').collect::<Vec<_>>().windows(5) {
        add(secrets, "recovery: five of the words", some.join(" ").as_bytes());
    }
    add_signing_key(
        secrets,
        "recovery: signing key",
        &derive_key("recovery signing", &entropy),
    );
    add_agreement_key(
        secrets,
        "recovery: agreement key",
        &derive_key("recovery agreement", &entropy),
    );
}
