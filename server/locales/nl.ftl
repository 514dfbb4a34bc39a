# Tekstberichten. Alleen tekens van het GSM-alfabet (dus geen ê, ë, ï of ç).
code-sign-in = { $code } is uw aanmeldcode voor { $organisation }. Geef deze code nooit door.
code-confirm-number = { $code } bevestigt uw telefoonnummer bij { $organisation }. Geef deze code nooit door.

# Berichten over wat er met het account gebeurde
-not-you = Was u dit niet? Neem contact op met uw helpdesk.
device-added = { $organisation }: het toestel { $name } kan nu uw aanmeldingen goedkeuren. { -not-you }
device-removed = { $organisation }: het toestel { $name } kan uw aanmeldingen niet langer goedkeuren. { -not-you }
phone-added = { $organisation }: het nummer { $number } ontvangt voortaan uw aanmeldcodes. { -not-you }
phone-removed = { $organisation }: het nummer { $number } ontvangt geen aanmeldcodes meer. { -not-you }
totp-added = { $organisation }: er is een authenticator-app toegevoegd om u aan te melden. { -not-you }
totp-removed = { $organisation }: de authenticator-app om u aan te melden is verwijderd. { -not-you }
recovery-codes-made = { $organisation }: er zijn nieuwe herstelcodes gemaakt. De vorige werken niet meer. { -not-you }
recovery-codes-removed = { $organisation }: uw herstelcodes zijn verwijderd en werken niet meer. { -not-you }
account-locked = { $organisation }: uw account is vergrendeld. Neem contact op met uw helpdesk.
account-unlocked = { $organisation }: uw account is ontgrendeld. U kunt zich weer aanmelden. { -not-you }
account-reset = { $organisation }: uw aanmeldmethoden zijn gewist. Registreer ze opnieuw. { -not-you }
sign-in-reported = { $organisation }: er is gemeld dat een aanmelding niet van u was. Wijzig uw wachtwoord en neem contact op met uw helpdesk.

# Waar een naam ontbreekt
your-organisation = uw organisatie
unnamed = zonder naam
