/** `obo-gateway openapi`. */
export async function openapi(_options: object): Promise<void> {}
