# SMS. Uniquement des caractères de l’alphabet GSM (donc pas de â, ê, ô, ç ni d’apostrophe courbe).
code-sign-in = { $code } est votre code de connexion pour { $organisation }. Ne le partagez jamais.
code-confirm-number = { $code } confirme votre numéro chez { $organisation }. Ne partagez jamais ce code.

# Ce qui est arrivé au compte
-not-you = Ce n'était pas vous ? Contactez votre helpdesk.
device-added = { $organisation } : l'appareil { $name } peut désormais approuver vos connexions. { -not-you }
device-removed = { $organisation } : l'appareil { $name } ne peut plus approuver vos connexions. { -not-you }
phone-added = { $organisation } : le numéro { $number } recevra désormais vos codes de connexion. { -not-you }
phone-removed = { $organisation } : le numéro { $number } ne recevra plus vos codes de connexion. { -not-you }
totp-added = { $organisation } : une application d'authentification a été ajoutée à votre compte. { -not-you }
totp-removed = { $organisation } : l'application d'authentification a été retirée de votre compte. { -not-you }
recovery-codes-made = { $organisation } : de nouveaux codes de secours ont été créés, les anciens sont annulés. { -not-you }
recovery-codes-removed = { $organisation } : vos codes de secours ont été supprimés et ne fonctionnent plus. { -not-you }
account-locked = { $organisation } : votre compte est verrouillé. Contactez votre helpdesk.
account-unlocked = { $organisation } : votre compte est déverrouillé. Vous pouvez à nouveau vous connecter. { -not-you }
account-reset = { $organisation } : vos moyens de connexion ont été effacés. Enregistrez-les à nouveau. { -not-you }
sign-in-reported = { $organisation } : une connexion a été signalée comme n'étant pas de vous. Changez de mot de passe et contactez votre helpdesk.

# Quand un nom manque
your-organisation = votre organisation
unnamed = sans nom
