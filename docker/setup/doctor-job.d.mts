/** Types of doctor-job.mjs, for its test. */

export const DOCTOR: string;
// biome-ignore lint/suspicious/noExplicitAny: objects of Kubernetes, as YAML gives them
export function doctorJob(objects: readonly any[]): any;
