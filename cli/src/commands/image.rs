//! `phala image`: the enclave images that a chain allows, and what TEEs measure of them.

mod measure;

use phala_attestation::{Measurement, Role};
use phala_sdk::chain::{Call, call};
use serde_json::json;

use crate::{
    Status, args,
    context::Context,
    output::{Output, table},
};

pub(crate) async fn run(command: args::Image, context: &Context, output: &Output) -> Status {
    match command {
        args::Image::List => list(context, output).await,
        args::Image::Allow { measurement, version } => {
            let call = call::allow_image(measurement, Role::Worker, version);
            change(measurement, call, "is allowed", context, output).await
        }
        args::Image::Forbid { measurement } => {
            change(measurement, call::forbid_image(measurement), "is forbidden", context, output).await
        }
        args::Image::Measure(image) => measure::run(&image, output),
        args::Image::Initramfs { enclave, output: file } => measure::make_initramfs(&enclave, &file, output),
    }
}

fn name(measurement: &Measurement) -> String {
    format!("0x{}", hex::encode(measurement.0))
}

async fn list(context: &Context, output: &Output) -> Status {
    let images = context.chain().await?.read(async |state| state.images().await).await?;
    let values: Vec<_> = images
        .iter()
        .map(|(measurement, image)| {
            json!({
                "measurement": name(measurement),
                "role": format!("{:?}", image.role).to_lowercase(),
                "version": image.version,
            })
        })
        .collect();
    output.result(&values, || match images.is_empty() {
        true => "This chain allows no image, so no worker can register.".into(),
        false => {
            let rows = images.iter().map(|(measurement, image)| {
                vec![name(measurement), format!("{:?}", image.role).to_lowercase(), image.version.to_string()]
            });
            table(&["measurement", "role", "version"], rows)
        }
    })?;
    Ok(0)
}

async fn change(measurement: Measurement, call: Call, effect: &str, context: &Context, output: &Output) -> Status {
    let chain = context.chain().await?;
    let signer = context.signer(&chain).await?;
    output.progress("Submitting …");
    let included = chain.submit(&signer, call::sudo(call)).await?;
    let image = name(&measurement);
    let value = json!({ "measurement": image, "effect": effect, "block": included.block.number });
    output.result(&value, || format!("The image {image} {effect} from block {} on", included.block.number))?;
    Ok(0)
}
