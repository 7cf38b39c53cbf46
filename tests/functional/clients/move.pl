# A move as a Perl program asks for it: its job once it has ended, a refusal, a fault and a batch, as JSON.
use strict;
use warnings;
use utf8;
use Encode qw(decode_utf8);
use Frontier::Client;
use JSON::PP;

my ($url, $source, $destination) = map { decode_utf8($_) } @ARGV;
my $service = Frontier::Client->new(url => $url, encoding => 'UTF-8');
my $accepted = $service->call('move', {host => 'disk', path => $source}, {host => 'archive', path => $destination},
    {label => 'é <&> ]]>', priority => 'high'});
my $job = $accepted;
while ($job->{status} eq 'PENDING' or $job->{status} eq 'IN_PROGRESS') {
    select(undef, undef, undef, 0.1);
    $job = $service->call('check', $accepted->{id});
}
my $refusal = $service->call('move', 'birds', 12);
eval { $service->call('nothing') };
my ($fault) = $@ =~ /fault code (-?\d+)/;
my $batch = $service->call('system.multicall', [
    {methodName => 'check', params => [$service->string($accepted->{id})]},
    {methodName => 'system.methodHelp', params => ['check']},
]);
print JSON::PP->new->utf8->encode({job => $job, refusal => $refusal, fault => $fault + 0,
    batch => [map { ref $_->[0] ? 'Hash' : 'String' } @$batch]});
