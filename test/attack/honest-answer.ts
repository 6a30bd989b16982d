/** What the downstream API answers to the second user: the bytes by which a right answer is known. */

export const HONEST_BODY = JSON.stringify({ displayName: "Second User", filling: "a".repeat(960) });
