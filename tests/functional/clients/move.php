<?php
// A move as a PHP program asks for it: its job once it has ended, a refusal, a fault and a batch, as JSON.
[, $url, $source, $destination] = $argv;

function call(string $method, ...$arguments)
{
    global $url;
    $body = xmlrpc_encode_request($method, $arguments, ['encoding' => 'utf-8', 'escaping' => 'markup']);
    $http = ['method' => 'POST', 'header' => 'Content-Type: text/xml', 'content' => $body];
    return xmlrpc_decode(file_get_contents($url, false, stream_context_create(['http' => $http])), 'utf-8');
}

$accepted = call('move', ['host' => 'disk', 'path' => $source], ['host' => 'archive', 'path' => $destination],
    ['label' => 'é <&> ]]>', 'priority' => 'high']);
$job = $accepted;
while (in_array($job['status'], ['PENDING', 'IN_PROGRESS'])) {
    usleep(100_000);
    $job = call('check', $accepted['id']);
}
$batch = call('system.multicall', [
    ['methodName' => 'check', 'params' => [(string) $accepted['id']]],
    ['methodName' => 'system.methodHelp', 'params' => ['check']],
]);
echo json_encode(['job' => $job, 'refusal' => call('move', 'birds', 12), 'fault' => call('nothing')['faultCode'],
    'batch' => array_map(fn ($answer) => is_array($answer[0]) ? 'Hash' : 'String', $batch)]);
