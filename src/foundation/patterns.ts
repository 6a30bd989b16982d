/** Patterns of identifiers that more than one room has to recognise. */

/** GUID in the form that Entra writes tenant, client and object ids in; either letter case, no braces (RFC 9562 §4). */
export const GUID = /^[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}$/i;
