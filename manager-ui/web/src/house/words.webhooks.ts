// Words of what programs do here: problems that only they meet, and webhooks.

/** Problems, by the server's word. */
const enProblems = {
  too_many_requests: "Too many requests in a minute. Please try again shortly.",
  idempotency_key: "The Idempotency-Key is no text of 1 to 255 characters.",
  idempotency_no_key: "This operation takes no Idempotency-Key.",
  idempotency_key_reused: "Another request came with this Idempotency-Key.",
  idempotency_under_way: "What came with this Idempotency-Key is still under way.",
  idempotency_unknown: "It was begun, and what came of it is not known. Please look before you try again.",
  idempotency_too_many_keys: "Too many Idempotency-Keys in a day.",
};

const zhProblems: typeof enProblems = {
  too_many_requests: "一分钟内请求过多，请稍后再试。",
  idempotency_key: "Idempotency-Key 须为 1 至 255 个字符的文本。",
  idempotency_no_key: "此操作不接受 Idempotency-Key。",
  idempotency_key_reused: "此 Idempotency-Key 已用于另一个请求。",
  idempotency_under_way: "使用此 Idempotency-Key 的请求仍在处理中。",
  idempotency_unknown: "操作已开始，结果未知；请先查看再重试。",
  idempotency_too_many_keys: "一天内使用的 Idempotency-Key 过多。",
};

export const programProblems = { en: enProblems, zh: zhProblems };
