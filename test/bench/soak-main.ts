/** `npm run soak`: memory under long load, or with `--chaos` everything around the gateway breaking. */

await import(process.argv.includes("--chaos") ? "./chaos/main.ts" : "./soak.ts");
