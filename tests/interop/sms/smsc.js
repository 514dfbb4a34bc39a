// An SMSC on npm's `smpp`. What it does with a text, the last two digits of the
// number say; what it sees, it tells as JSON lines.
//
// Usage: node smsc.js PORT SYSTEM_ID PASSWORD [KEY CERTIFICATE]

import { readFileSync } from 'node:fs';

import smpp from 'smpp';

const [port, systemId, password, key, certificate] = process.argv.slice(2);
const tell = (event, fields = {}) => console.log(JSON.stringify({ event, ...fields }));

let taken = 0;

const receiptText = (id, stat, error = '000') =>
  `id:${id} sub:001 dlvrd:001 submit date:2611230512 done date:2611230513 ` +
  `stat:${stat} err:${error} text:Your code is 1`;

function receipt(session, pdu, fields) {
  const receipt = {
    source_addr: pdu.destination_addr,
    destination_addr: pdu.source_addr,
    esm_class: smpp.ESM_CLASS.MC_DELIVERY_RECEIPT,
    ...fields,
  };
  session.deliver_sm(receipt, (answer) => tell('receipt_answered', { status: answer.command_status }));
}

function submitted(session, pdu) {
  tell('submit', {
    to: pdu.destination_addr,
    to_ton: pdu.dest_addr_ton,
    to_npi: pdu.dest_addr_npi,
    from: pdu.source_addr,
    from_ton: pdu.source_addr_ton,
    text: pdu.short_message.message,
    data_coding: pdu.data_coding,
    esm_class: pdu.esm_class,
    registered_delivery: pdu.registered_delivery,
    // The library has made a date of the relative time.
    valid_seconds: Math.round((pdu.validity_period - Date.now()) / 1000),
  });
  const id = `00${(0xabc0 + (taken += 1)).toString(16).toUpperCase()}`;
  const take = () => session.send(pdu.response({ message_id: id }));
  const refuse = (command_status) => session.send(pdu.response({ command_status }));
  switch (pdu.destination_addr.slice(-2)) {
    case '01':
      take();
      receipt(session, pdu, {
        short_message: 'not the usual form',
        receipted_message_id: id,
        message_state: smpp.MESSAGE_STATE.DELIVERED,
      });
      break;
    case '02':
      take();
      receipt(session, pdu, { short_message: receiptText(id, 'UNDELIV', '069') });
      break;
    case '03':
      refuse(smpp.ESME_RINVDSTADR);
      break;
    case '04':
      refuse(smpp.ESME_RTHROTTLED);
      break;
    case '05':
      break;
    case '06':
      receipt(session, pdu, { short_message: receiptText(id.toLowerCase(), 'DELIVRD') });
      take();
      break;
    default:
      take();
      receipt(session, pdu, { short_message: receiptText(id, 'DELIVRD') });
  }
}

const secure = key ? { key: readFileSync(key), cert: readFileSync(certificate) } : {};
const server = smpp.createServer(secure, (session) => {
  // Peers that hang up are part of the test.
  session.on('error', () => {});
  const bind = (pdu) => {
    const { system_id, system_type, interface_version } = pdu;
    const allowed = pdu.system_id === systemId && pdu.password === password;
    tell('bind', { kind: pdu.command, system_id, system_type, interface_version, allowed });
    session.send(pdu.response(allowed ? { system_id: 'smsc' } : { command_status: smpp.ESME_RINVPASWD }));
  };
  session.on('bind_transceiver', bind);
  session.on('submit_sm', (pdu) => submitted(session, pdu));
  session.on('enquire_link', (pdu) => session.send(pdu.response()));
  session.on('unbind', (pdu) => {
    tell('unbind');
    session.send(pdu.response());
    session.close();
  });
});
server.listen(Number(port), '127.0.0.1', () => tell('listening'));
