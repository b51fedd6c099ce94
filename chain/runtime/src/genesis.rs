//! The presets from which chains start.
//!
//! | preset | authorities | simulated evidence |
//! |---|---|---|
//! | `development` | Alice | accepted |
//! | `local_testnet` | Alice, Bob, Charlie, Dave | accepted |
//! | `local_no_simulation` | Alice | refused |
//!
//! Each issues exactly [`TOTAL_ISSUANCE`], as [`balances`] says. But for the treasury and the mining account, which
//! nobody has a key of, the keys of all its accounts are public: these presets are for development and tests.

use alloc::vec::Vec;
use frame_support::build_struct_json_patch;
use pallet_phala_gatekeepers::{Caps, Size};
use serde_json::Value;
use sp_core::hex2array;
use sp_genesis_builder::{DEV_RUNTIME_PRESET, LOCAL_TESTNET_RUNTIME_PRESET, PresetId};
use sp_keyring::{Ed25519Keyring, Sr25519Keyring};
use sp_runtime::{Permill, traits::AccountIdConversion};

use crate::{
    configs::{MINING, TREASURY},
    *,
};

/// The preset with one authority whose genesis refuses simulated evidence.
pub const NO_SIMULATION_PRESET: &str = "local_no_simulation";

/// The PHA that there are.
pub const TOTAL_ISSUANCE: Balance = 1_000_000_000 * PHA;
/// The part of them that is the mining budget.
pub const MINING_BUDGET: Balance = 700_000_000 * PHA;
/// What the treasury starts with.
pub const TREASURY_ENDOWMENT: Balance = 10_000_000 * PHA;
/// What each development account starts with.
pub const DEVELOPMENT_ENDOWMENT: Balance = 1_000_000 * PHA;

/// Sessions in an era on development networks: ten minutes, so that what happens in eras can be watched. Bonds come back within
/// five hours.
pub const DEVELOPMENT_SESSIONS_PER_ERA: u32 = 2;

/// The set on development networks: as few as can do without one of them, at best.
pub const DEVELOPMENT_SIZE: Size = Size { desired: 4, minimum: 2 };

/// The caps on development networks: of four, each is of another operator and of another simulated vendor.
pub const DEVELOPMENT_CAPS: Caps =
    Caps { operator: Permill::from_percent(25), ..pallet_phala_gatekeepers::DEFAULT_CAPS };

/// The Sr25519 public key of `//Foundation`, which gets what is left.
pub const FOUNDATION: AccountId =
    AccountId::new(hex2array!("04a7e334acfeccd035ed052705040cc944c70eb92247d4770b55bceec4072664"));

/// The public key of the root of simulated platforms on development networks, whose secret is public:
/// `phala_attestation::simulated::development_root`.
pub const DEVELOPMENT_ROOT: [u8; 32] = hex2array!("065e6e5fdd07f8e638be58bfc79cf487f89d784006530eb29f2aeca70754c3a1");

/// The roots of simulated vendors on development networks, whose secrets are public: `phala_attestation::mint::roots`. They
/// stand in the place of Intel's and AMD's there.
pub const SIMULATED_VENDORS: [&[u8]; 2] =
    [include_bytes!("genesis/simulated-intel.der"), include_bytes!("genesis/simulated-amd.der")];

/// The accounts whose keys are known to everybody.
pub const DEVELOPMENT_ACCOUNTS: [Sr25519Keyring; 6] = [
    Sr25519Keyring::Alice,
    Sr25519Keyring::Bob,
    Sr25519Keyring::Charlie,
    Sr25519Keyring::Dave,
    Sr25519Keyring::Eve,
    Sr25519Keyring::Ferdie,
];

/// Who owns which part of [`TOTAL_ISSUANCE`] at genesis.
pub fn balances() -> Vec<(AccountId, Balance)> {
    let mut balances: Vec<_> =
        DEVELOPMENT_ACCOUNTS.iter().map(|who| (who.to_account_id(), DEVELOPMENT_ENDOWMENT)).collect();
    balances.push((MINING.into_account_truncating(), MINING_BUDGET));
    balances.push((TREASURY.into_account_truncating(), TREASURY_ENDOWMENT));
    let issued: Balance = balances.iter().map(|(_, amount)| amount).sum();
    balances.push((FOUNDATION, TOTAL_ISSUANCE - issued));
    balances
}

/// The JSON patch of the preset `id`, or `None` when there is no such preset.
pub fn preset(id: &PresetId) -> Option<Vec<u8>> {
    use {Ed25519Keyring as Ed, Sr25519Keyring as Sr};
    let four = [(Sr::Alice, Ed::Alice), (Sr::Bob, Ed::Bob), (Sr::Charlie, Ed::Charlie), (Sr::Dave, Ed::Dave)];
    let patch = match id.as_ref() {
        DEV_RUNTIME_PRESET => patch(&four[..1], simulation()),
        LOCAL_TESTNET_RUNTIME_PRESET => patch(&four, simulation()),
        NO_SIMULATION_PRESET => patch(&four[..1], AttestationConfig::default()),
        _ => return None,
    };
    serde_json::to_vec(&patch).ok()
}

/// The names that [`preset`] knows.
pub fn preset_names() -> Vec<PresetId> {
    [DEV_RUNTIME_PRESET, LOCAL_TESTNET_RUNTIME_PRESET, NO_SIMULATION_PRESET].map(PresetId::from).into()
}

/// Accepts simulated evidence of each kind.
fn simulation() -> AttestationConfig {
    let [simulated_intel, simulated_amd] = SIMULATED_VENDORS.map(Vec::from);
    AttestationConfig { simulated_root: Some(DEVELOPMENT_ROOT), simulated_intel, simulated_amd, ..Default::default() }
}

fn patch(authorities: &[(Sr25519Keyring, Ed25519Keyring)], attestation: AttestationConfig) -> Value {
    build_struct_json_patch!(RuntimeGenesisConfig {
        balances: BalancesConfig { balances: balances() },
        babe: BabeConfig { epoch_config: BABE_GENESIS_EPOCH_CONFIG },
        session: SessionConfig {
            keys: authorities
                .iter()
                .map(|(babe, grandpa)| {
                    let account = babe.to_account_id();
                    let keys = SessionKeys { babe: babe.public().into(), grandpa: grandpa.public().into() };
                    (account.clone(), account, keys)
                })
                .collect(),
        },
        sudo: SudoConfig { key: Some(Sr25519Keyring::Alice.to_account_id()) },
        attestation,
        gatekeepers: GatekeepersConfig {
            size: DEVELOPMENT_SIZE,
            caps: DEVELOPMENT_CAPS,
            sessions_per_era: DEVELOPMENT_SESSIONS_PER_ERA,
        },
    })
}
