//! `phala app`.

use anyhow::Context as _;
use phala_primitives::{AppId, job::Visibility};
use phala_sdk::{amount, chain::App, job::read_program};
use serde_json::{Value, json};
use std::fs;

use crate::{
    Status, args,
    context::Context,
    output::{Output, bytes, facts, short, table},
};

pub(crate) async fn run(command: args::App, context: &Context, output: &Output) -> Status {
    match command {
        args::App::Publish { program, private, manifest } => {
            let code = read_program(&program)?;
            let manifest = manifest
                .map(|path| fs::read(&path).with_context(|| format!("cannot read {}", path.display())))
                .transpose()?;
            let jobs = context.jobs().await?;
            let signer = context.signer(jobs.chain()).await?;
            let visibility = if private { Visibility::Private } else { Visibility::Public };
            output.progress("Publishing …");
            let published = jobs.publish(&signer, &code, visibility, manifest.as_deref()).await?;
            let value = json!({
                "app": published.app,
                "code_hash": format!("0x{}", hex::encode(published.code_hash)),
                "code_bytes": code.len(),
                "visibility": visibility,
                "new": published.included.is_some(),
                "block": published.included.map(|(block, _)| block),
                "fee": published.included.map(|(_, fee)| amount::format_number(fee)),
            });
            output.result(&value, || {
                let how = match published.included {
                    Some((block, fee)) => format!("in block {block} (fee {})", amount::format(fee)),
                    None => "before".into(),
                };
                format!("{}\nPublished {how}. Run it with `phala job run {}`", published.app, published.app)
            })?;
            Ok(0)
        }
        args::App::Unpublish { app } => unpublish(app, context, output).await,
        args::App::List { mine } => list(mine, context, output).await,
        args::App::Show { app } => show(app, context, output).await,
    }
}

async fn unpublish(app: AppId, context: &Context, output: &Output) -> Status {
    let jobs = context.jobs().await?;
    let signer = context.signer(jobs.chain()).await?;
    output.progress("Unpublishing …");
    let (included, gone) = jobs.unpublish(&signer, app).await?;
    let value = json!({
        "app": app,
        "gone": gone,
        "block": included.block.number,
        "fee": amount::format_number(included.fee),
    });
    output.result(&value, || {
        let how = match gone {
            true => "is gone, and its deposit is back",
            false => "gets no more jobs; it is gone, and its deposit back, when those that live have ended",
        };
        format!("From block {} on the app {how}", included.block.number)
    })?;
    Ok(0)
}

fn value(id: &AppId, app: &App) -> Value {
    json!({
        "app": id,
        "publisher": app.publisher,
        "visibility": app.visibility,
        "code_hash": format!("0x{}", hex::encode(app.code_hash)),
        "code_bytes": app.code_bytes,
        "manifest_hash": format!("0x{}", hex::encode(app.manifest_hash)),
        "retired": app.retired,
    })
}

fn visibility(app: &App) -> &'static str {
    match app.visibility {
        _ if app.retired => "retired",
        Visibility::Public => "public",
        Visibility::Private => "private",
    }
}

async fn list(mine: bool, context: &Context, output: &Output) -> Status {
    let chain = context.chain().await?;
    let mut apps = chain.read(async |state| state.apps().await).await?;
    if mine {
        let own = context.own_account(&chain).await?;
        apps.retain(|(_, app)| app.publisher == own);
    }
    let values: Vec<_> = apps.iter().map(|(id, app)| value(id, app)).collect();
    output.result(&values, || match apps.is_empty() {
        true => "No apps. Publish one with `phala app publish PROGRAM.wasm`.".into(),
        false => {
            let rows = apps.iter().map(|(id, app)| {
                vec![
                    id.to_string(),
                    visibility(app).into(),
                    bytes(app.code_bytes.into()),
                    short(&app.publisher),
                    short(&format!("0x{}", hex::encode(app.code_hash))),
                ]
            });
            table(&["app", "visibility", "size", "publisher", "code"], rows)
        }
    })?;
    Ok(0)
}

async fn show(id: AppId, context: &Context, output: &Output) -> Status {
    let chain = context.chain().await?;
    let app = chain.read(async |state| state.app(id).await).await?;
    let app = app.with_context(|| format!("the chain knows no app {id}; see `phala app list`"))?;
    output.result(&value(&id, &app), || {
        facts(&[
            ("App", id.to_string()),
            ("Publisher", app.publisher.to_string()),
            ("Visibility", visibility(&app).into()),
            ("Code", format!("0x{} ({})", hex::encode(app.code_hash), bytes(app.code_bytes.into()))),
            ("Manifest", format!("0x{}", hex::encode(app.manifest_hash))),
        ])
    })?;
    Ok(0)
}
