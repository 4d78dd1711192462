// How long the worker may be silent before the pages say so, in seconds, by what it does: it speaks between two
// steps, and one step of a large model may take minutes.
const PATIENCE = { reward_model: 600, ppo: 600, dpo: 600, sft: 600, generating: 600, publishing: 600, starting: 600 };

/** Whether that time is over. `now` is the server's clock in seconds. */
const tooSilent = (worker, now) => Boolean(worker?.seen) && now - worker.seen > (PATIENCE[worker.state] || 90);
