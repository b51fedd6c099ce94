//! Gatekeepers that sign by themselves, for tests and benchmarks. What they post are bytes of the right lengths: the chain does
//! not look into them.

use super::*;
use ed25519_dalek::{Signer, SigningKey};
use phala_primitives::gatekeeper::{BroughtBeacon, EncryptedShare, LostShare, Releases};

/// A gatekeeper's enclave.
pub(crate) struct Gatekeeper(SigningKey);

impl Gatekeeper {
    /// The gatekeeper with this number.
    pub fn new(number: u32) -> Self {
        Self(SigningKey::from_bytes(&sp_io::hashing::sha2_256(&("gatekeeper", number).encode())))
    }

    /// The first `count`, in ascending order of their ids.
    pub fn all(count: u32) -> Vec<Self> {
        let mut all: Vec<_> = (0..count).map(Self::new).collect();
        all.sort_by_key(Self::id);
        all
    }

    pub fn id(&self) -> GatekeeperId {
        GatekeeperId(self.0.verifying_key().to_bytes())
    }

    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }

    pub fn post<T: Config>(&self, ceremony: CeremonyId, content: Content) -> SignedPost {
        let genesis_hash = Pallet::<T>::genesis_hash();
        let post = Post { genesis_hash, ceremony, gatekeeper: self.id(), content };
        SignedPost { signature: self.sign(&post.signed_bytes()), post }
    }

    pub fn lost_share<T: Config>(&self, key: NetworkKey, ceremony: CeremonyId) -> SignedLostShare {
        let request = LostShare { genesis_hash: Pallet::<T>::genesis_hash(), key, ceremony, gatekeeper: self.id() };
        SignedLostShare { signature: self.sign(&request.signed_bytes()), request }
    }

    pub fn beacon<T: Config>(&self, beacon: Beacon) -> SignedBeacon {
        let brought = BroughtBeacon { genesis_hash: Pallet::<T>::genesis_hash(), gatekeeper: self.id(), beacon };
        SignedBeacon { signature: self.sign(&brought.signed_bytes()), brought }
    }

    pub fn releases<T: Config>(&self, first: u64, count: u32) -> SignedReleases {
        let (genesis_hash, gatekeeper) = (Pallet::<T>::genesis_hash(), self.id());
        let releases = Releases { genesis_hash, gatekeeper, first, count, digest: [0xd1; 32] };
        SignedReleases { signature: self.sign(&releases.signed_bytes()), releases }
    }
}

/// What somebody honest says in the present phase of a ceremony; nothing in one that has ended.
pub(crate) fn content<T: Config>(ceremony: CeremonyId, public_key: PublicKey) -> Option<Content> {
    let record = Ceremonies::<T>::get(ceremony)?;
    let progress = Progresses::<T>::get(ceremony)?;
    let players = record.players.len() as u32;
    Some(match record.phase {
        Phase::Enrol => Content::Enrolment([1; 32]),
        Phase::Deal => Content::Dealing(Dealing {
            commitment: alloc::vec![2; (sizes::commitment(players) - sizes::SLACK) as usize],
            shares: alloc::vec![EncryptedShare { encapsulated_key: [3; 32], ciphertext: [4; 48] }; players as usize],
        }),
        Phase::Answer => Content::Answers(alloc::vec![Answer::Acknowledged([5; 64]); progress.dealings as usize]),
        Phase::Log => Content::Log(alloc::vec![6; (sizes::log(players) - sizes::SLACK) as usize]),
        Phase::Confirm => {
            Content::Confirmation(Confirmation { public_key, output_hash: sp_io::hashing::sha2_256(&output(ceremony)) })
        }
    })
}

/// What comes out of a ceremony.
pub(crate) fn output(ceremony: CeremonyId) -> Vec<u8> {
    (b"output", ceremony).encode()
}
