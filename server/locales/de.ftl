# SMS. Nur Zeichen des GSM-Alphabets.
code-sign-in = { $code } ist Ihr Anmeldecode für { $organisation }. Geben Sie ihn niemals weiter.
code-confirm-number = { $code } bestätigt Ihre Nummer bei { $organisation }. Geben Sie den Code niemals weiter.

# Was mit dem Konto geschah
-not-you = Waren Sie das nicht? Wenden Sie sich an Ihren Helpdesk.
device-added = { $organisation }: Das Gerät { $name } kann nun Ihre Anmeldungen genehmigen. { -not-you }
device-removed = { $organisation }: Das Gerät { $name } kann Ihre Anmeldungen nicht mehr genehmigen. { -not-you }
phone-added = { $organisation }: Die Nummer { $number } erhält nun Ihre Anmeldecodes. { -not-you }
phone-removed = { $organisation }: Die Nummer { $number } erhält keine Anmeldecodes mehr. { -not-you }
totp-added = { $organisation }: Ihrem Konto wurde eine Authenticator-App hinzugefügt. { -not-you }
totp-removed = { $organisation }: Die Authenticator-App wurde aus Ihrem Konto entfernt. { -not-you }
recovery-codes-made = { $organisation }: Es gibt neue Wiederherstellungscodes. Die alten gelten nicht mehr. { -not-you }
recovery-codes-removed = { $organisation }: Ihre Wiederherstellungscodes wurden entfernt und gelten nicht mehr. { -not-you }
account-locked = { $organisation }: Ihr Konto ist gesperrt. Wenden Sie sich an Ihren Helpdesk.
account-unlocked = { $organisation }: Ihr Konto ist entsperrt. Sie können sich wieder anmelden. { -not-you }
account-reset = { $organisation }: Ihre Anmeldemethoden wurden gelöscht. Bitte neu registrieren. { -not-you }
sign-in-reported = { $organisation }: Eine Anmeldung wurde als fremd gemeldet. Ändern Sie Ihr Passwort und informieren Sie Ihren Helpdesk.

# Wo ein Name fehlt
your-organisation = Ihre Organisation
unnamed = ohne Namen
