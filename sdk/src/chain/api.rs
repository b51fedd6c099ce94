//! The runtime's interface, generated from its metadata.
//!
//! Types that we share with the runtime are replaced by themselves. Regenerate `metadata.scale` whenever a pallet's
//! calls, storage, events or errors change.
#![allow(missing_docs, clippy::all, unused_imports, rustdoc::all)]

#[subxt::subxt(
    runtime_metadata_path = "metadata.scale",
    substitute_type(
        path = "phala_primitives::id::WorkerId",
        with = "::subxt::utils::Static<::phala_primitives::WorkerId>"
    ),
    substitute_type(
        path = "phala_primitives::id::GatekeeperId",
        with = "::subxt::utils::Static<::phala_primitives::GatekeeperId>"
    ),
    substitute_type(
        path = "phala_primitives::gatekeeper::NetworkKey",
        with = "::subxt::utils::Static<::phala_primitives::gatekeeper::NetworkKey>"
    ),
    substitute_type(
        path = "phala_primitives::gatekeeper::SignedPost",
        with = "::subxt::utils::Static<::phala_primitives::gatekeeper::SignedPost>"
    ),
    substitute_type(
        path = "phala_primitives::gatekeeper::SignedBeacon",
        with = "::subxt::utils::Static<::phala_primitives::gatekeeper::SignedBeacon>"
    ),
    substitute_type(
        path = "phala_primitives::gatekeeper::SignedLostShare",
        with = "::subxt::utils::Static<::phala_primitives::gatekeeper::SignedLostShare>"
    ),
    substitute_type(
        path = "phala_primitives::gatekeeper::SignedReleases",
        with = "::subxt::utils::Static<::phala_primitives::gatekeeper::SignedReleases>"
    ),
    substitute_type(path = "phala_primitives::id::AppId", with = "::subxt::utils::Static<::phala_primitives::AppId>"),
    substitute_type(
        path = "phala_primitives::job::Limits",
        with = "::subxt::utils::Static<::phala_primitives::Limits>"
    ),
    substitute_type(
        path = "phala_primitives::job::Outcome",
        with = "::subxt::utils::Static<::phala_primitives::Outcome>"
    ),
    substitute_type(
        path = "phala_primitives::job::Visibility",
        with = "::subxt::utils::Static<::phala_primitives::job::Visibility>"
    ),
    substitute_type(
        path = "phala_primitives::receipt::SignedReceipt",
        with = "::subxt::utils::Static<::phala_primitives::SignedReceipt>"
    ),
    substitute_type(
        path = "phala_primitives::worker::SignedPerformanceReport",
        with = "::subxt::utils::Static<::phala_primitives::worker::SignedPerformanceReport>"
    ),
    substitute_type(
        path = "phala_primitives::worker::SignedHeartbeat",
        with = "::subxt::utils::Static<::phala_primitives::worker::SignedHeartbeat>"
    ),
    substitute_type(
        path = "phala_attestation::statement::Statement",
        with = "::subxt::utils::Static<::phala_attestation::Statement>"
    ),
    substitute_type(
        path = "phala_attestation::statement::Role",
        with = "::subxt::utils::Static<::phala_attestation::Role>"
    ),
    substitute_type(
        path = "phala_attestation::documents::DocumentId",
        with = "::subxt::utils::Static<::phala_attestation::DocumentId>"
    ),
    substitute_type(
        path = "phala_attestation::documents::SignedDocument",
        with = "::subxt::utils::Static<::phala_attestation::SignedDocument>"
    ),
    substitute_type(
        path = "phala_primitives::attestation::HardwarePolicy",
        with = "::subxt::utils::Static<::phala_primitives::attestation::HardwarePolicy>"
    ),
    substitute_type(
        path = "phala_primitives::attestation::Class",
        with = "::subxt::utils::Static<::phala_primitives::attestation::Class>"
    ),
    substitute_type(
        path = "phala_attestation::Evidence",
        with = "::subxt::utils::Static<::phala_attestation::Evidence>"
    ),
    substitute_type(
        path = "phala_attestation::measurement::Measurement",
        with = "::subxt::utils::Static<::phala_attestation::Measurement>"
    )
)]
mod runtime {}

pub use runtime::*;
