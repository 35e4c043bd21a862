#!/bin/sh
# certshelf's exec hook over a DNS script of acme.sh, with the tokens that acme.sh keeps itself:
#   acme_sh_hook.sh HOME_OF_ACME_SH DNS_SCRIPT present|cleanup NAME. VALUE
# acme.sh calls its DNS scripts as functions: DNS_SCRIPT_add NAME VALUE, DNS_SCRIPT_rm NAME VALUE
# (github.com/acmesh-official/acme.sh, "DNS API Dev Guide").
folder=$1 script=$2 action=$3 name=${4%.} value=$5
set -- # acme.sh would take them for its own
. "$folder/acme.sh" > /dev/null || exit 1
LE_WORKING_DIR=$folder
_initpath
. "$folder/dnsapi/$script.sh" || exit 1
case $action in
present) "${script}_add" "$name" "$value" ;;
cleanup) "${script}_rm" "$name" "$value" ;;
*) exit 2 ;;
esac
