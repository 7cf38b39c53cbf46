// A move as a JavaScript program asks for it: its job once it has ended, a refusal, a fault and a batch, as JSON.
const xmlrpc = require("xmlrpc");

const [address, source, destination] = process.argv.slice(2);
const { protocol, hostname, port, pathname, username, password } = new URL(address);
const create = protocol === "https:" ? xmlrpc.createSecureClient : xmlrpc.createClient;
const login = username ? { basic_auth: { user: username, pass: password } } : {};
const service = create({ host: hostname, port, path: pathname, ...login });
const call = (method, ...parameters) => new Promise((resolve, reject) =>
    service.methodCall(method, parameters, (error, value) => error ? reject(error) : resolve(value)));

async function main() {
    const accepted = await call("move", { host: "disk", path: source }, { host: "archive", path: destination },
        { label: "é <&> ]]>", priority: "high" });
    let job = accepted;
    while (["PENDING", "IN_PROGRESS"].includes(job.status)) {
        await new Promise((resolve) => setTimeout(resolve, 100));
        job = await call("check", accepted.id);
    }
    const refusal = await call("move", "birds", 12);
    const fault = await call("nothing").catch((error) => error.faultCode);
    const batch = await call("system.multicall", [
        { methodName: "check", params: [String(accepted.id)] },
        { methodName: "system.methodHelp", params: ["check"] },
    ]);
    const kinds = batch.map(([answer]) => typeof answer === "object" ? "Hash" : "String");
    console.log(JSON.stringify({ job, refusal, fault, batch: kinds }));
}

main();
