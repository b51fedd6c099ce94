//! `phala balance` and `phala transfer`.

use anyhow::bail;
use phala_sdk::{amount, chain::call};
use serde_json::json;

use crate::{
    Status,
    args::{BalanceOptions, TransferOptions},
    context::Context,
    output::{Output, facts},
};

pub(crate) async fn balance(options: BalanceOptions, context: &Context, output: &Output) -> Status {
    let chain = context.chain().await?;
    let account = match &options.account {
        Some(account) => context.account(account)?,
        None => context.own_account(&chain).await?,
    };
    let (block, balance) = chain.read(async |state| Ok((state.block().number, state.balance(account).await?))).await?;
    let value = json!({
        "account": account,
        "free": amount::format_number(balance.free),
        "held": amount::format_number(balance.reserved),
        "frozen": amount::format_number(balance.frozen),
        "transactions": balance.nonce,
        "block": block,
    });
    output.result(&value, || {
        facts(&[
            ("Account", account.to_string()),
            ("Free", amount::format(balance.free)),
            ("Held", format!("{} (escrow and deposits)", amount::format(balance.reserved))),
            ("Block", block.to_string()),
        ])
    })?;
    Ok(0)
}

pub(crate) async fn transfer(options: TransferOptions, context: &Context, output: &Output) -> Status {
    let chain = context.chain().await?;
    let to = context.account(&options.to)?;
    let signer = context.signer(&chain).await?;
    output.progress("Transferring …");
    // A transfer that fails on chain costs its fee: better not to send it.
    let fee = chain.fee(&signer, call::transfer(to, options.amount)).await?;
    let balance = chain.read(async |state| state.balance(signer.account()).await).await?;
    let free = balance.free.saturating_sub(balance.frozen);
    if free < options.amount.saturating_add(fee) {
        bail!(
            "{} has {} to spend, too little for {} and a fee of {}; nothing was sent",
            signer.account(),
            amount::format(free),
            amount::format(options.amount),
            amount::format(fee)
        );
    }
    let included = chain.submit(&signer, call::transfer(to, options.amount)).await?;
    let value = json!({
        "from": signer.account(),
        "to": to,
        "amount": amount::format_number(options.amount),
        "fee": amount::format_number(included.fee),
        "block": included.block.number,
        "transaction": format!("0x{}", hex::encode(included.extrinsic_hash)),
    });
    output.result(&value, || {
        format!(
            "{} sent to {to} in block {} (fee {})",
            amount::format(options.amount),
            included.block.number,
            amount::format(included.fee)
        )
    })?;
    Ok(0)
}
